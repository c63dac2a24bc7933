"""Answers of a policy in this process, against transformers' own generation without any of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.train.conftest import image_part, user
from vlreward import Group
from vlreward.errors import ConfigError, LengthError
from vlreward.model.backbone import quiet_transformers
from vlreward.policy.local_sampler import LocalSampler
from vlreward.policy.sampling import Prompt, Sampler, SamplingSettings

GREEDY = SamplingSettings(answers=3, temperature=0.0, max_tokens=10)


def prompt(*parts: Any, id: str | None = None) -> Prompt:
    return Prompt.of(Group(user(*parts), ["?"], id=id))


def texts(sampler: LocalSampler, settings: SamplingSettings, *prompts: Prompt) -> list[list[str]]:
    found = sampler.sample(prompts, settings)
    assert all(len(sampled.group) == settings.answers for sampled in found)
    return [[str(response[0].content) for response in sampled.group.responses] for sampled in found]


@pytest.fixture(scope="module")
def sampler(checkpoint: Callable[..., Path]) -> LocalSampler:
    return LocalSampler.from_pretrained(checkpoint(form="none"), dtype="float32", device="cpu")


def theirs(folder: Path, *parts: Any, beginning: str = "") -> str:
    """The greedy answer, or the rest of one, with the whole prompt run by transformers."""
    with quiet_transformers():
        model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    processor = transformers.AutoProcessor.from_pretrained(folder)
    pil = transformers.models.qwen2_vl.image_processing_pil_qwen2_vl.Qwen2VLImageProcessorPil
    processor.image_processor = pil.from_pretrained(folder)
    (message,) = user(*parts)
    text = processor.apply_chat_template([message], tokenize=False, add_generation_prompt=True) + beginning
    pictures = [part["image"] for part in message["content"] if not isinstance(part, str) and part["type"] == "image"]
    inputs = processor(text=[text], images=pictures or None, return_tensors="pt")
    written = model.generate(**inputs, do_sample=False, max_new_tokens=10)
    answer: str = processor.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return answer


@pytest.mark.parametrize("backbone", ["qwen2_5_vl", "qwen3_vl"])
def test_greedy_answers_are_those_of_transformers(checkpoint: Callable[..., Path], backbone: str) -> None:
    folder = checkpoint(backbone, form="none")
    sampler = LocalSampler.from_pretrained(folder, dtype="float32", device="cpu", at_once=2)
    assert isinstance(sampler, Sampler)
    cases = [
        (image_part(1, (112, 84)), "What is it?"),
        ("Why?", "And when?"),
        (image_part(2), "or", image_part(3), "?"),
    ]
    # In one call, so that positions of one prompt are not taken for those of the next.
    found = texts(sampler, GREEDY, *(prompt(*parts) for parts in cases))
    for answers, parts in zip(found, cases, strict=True):
        assert answers == [theirs(folder, *parts)] * 3


@pytest.mark.parametrize("parts", [("Why?",), (image_part(2), "What?")])
def test_a_begun_answer_is_gone_on_with(
    sampler: LocalSampler, checkpoint: Callable[..., Path], parts: tuple[Any, ...]
) -> None:
    begun = replace(prompt(*parts), beginning="The circle is")
    rest = theirs(checkpoint(form="none"), *parts, beginning="The circle is")
    assert rest != theirs(checkpoint(form="none"), *parts)
    assert texts(sampler, GREEDY, begun) == [["The circle is" + rest] * 3]
    drawn = SamplingSettings(answers=2, max_tokens=4)
    other = replace(begun, beginning="The")
    assert begun.seed(drawn) != other.seed(drawn)
    assert other.seed(drawn) == replace(other, beginning="The").seed(drawn)


def test_prompt_and_picture_are_run_once(sampler: LocalSampler) -> None:
    seen: list[int] = []
    tower = sampler.model.model.visual.register_forward_hook(lambda *_: seen.append(-1))
    layer = sampler.model.model.language_model.register_forward_hook(
        lambda _, __, output: seen.append(output.last_hidden_state.shape[0] * output.last_hidden_state.shape[1])
    )
    texts(sampler, SamplingSettings(answers=5, max_tokens=3), prompt(image_part(1), "What?"))
    tower.remove()
    layer.remove()
    assert seen[0] == -1
    assert seen.count(-1) == 1
    assert all(tokens <= 5 for tokens in seen[2:])


def test_a_prompt_has_its_own_seed(sampler: LocalSampler) -> None:
    settings = SamplingSettings(answers=4, max_tokens=6)
    first, second = prompt("One?", id="1"), prompt(image_part(1), "Two?", id="2")
    state = torch.random.get_rng_state()
    alone = texts(sampler, settings, second)[0]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert texts(sampler, settings, first, second)[1] == alone
    assert len(set(alone)) > 1
    assert texts(sampler, SamplingSettings(answers=4, max_tokens=6, seed=1), second)[0] != alone


def test_tokens_are_drawn_as_their_probabilities_say(sampler: LocalSampler) -> None:
    count, asked = 600, prompt(image_part(1), "What?")
    settings = SamplingSettings(answers=count, temperature=0.5, top_p=0.8, max_tokens=1)
    drawn = Counter(texts(LocalSampler(sampler.model, sampler._opened, at_once=300), settings, asked)[0])
    rows_TC, media = sampler._encoded(asked, settings)
    ids = torch.from_numpy(rows_TC[:, 0].copy())[None]
    with torch.inference_mode():
        kinds = (ids == sampler._opened.backbone.image_token_id).int()
        logits = sampler.model(input_ids=ids, mm_token_type_ids=kinds, **sampler._pixels(media)).logits[0, -1]
    probabilities, order = (logits / 0.5).softmax(dim=-1).sort(descending=True)
    kept = int((probabilities.cumsum(0) < 0.8).sum()) + 1
    expected: Counter[str] = Counter()
    for token, share in zip(
        order[:kept].tolist(), (probabilities[:kept] / probabilities[:kept].sum()).tolist(), strict=True
    ):
        expected[sampler._opened.processor.tokenizer.decode([token], skip_special_tokens=True)] += share  # type: ignore[assignment]
    assert drawn.keys() <= expected.keys()
    for text, share in expected.items():
        assert drawn[text] / count == pytest.approx(share, abs=5 * (share / count) ** 0.5 + 1e-9)


def test_answers_end_where_they_are_told(sampler: LocalSampler, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = prompt("Hi")
    written: list[torch.Tensor] = []
    real = sampler.model.generate
    monkeypatch.setattr(sampler.model, "generate", lambda **options: written.append(real(**options)) or written[-1])
    (long,) = texts(sampler, SamplingSettings(answers=1, temperature=0.0, max_tokens=12), asked)[0]
    assert len(long) > 4
    stop = long[3:5]
    (sampled,) = sampler.sample([asked], SamplingSettings(answers=1, temperature=0.0, max_tokens=12, stop=(stop,)))
    text = str(sampled.group.responses[0][0].content)
    assert text == long[: long.index(stop)]
    assert sampled.unfinished == frozenset()
    (cut,) = sampler.sample([asked], SamplingSettings(answers=2, temperature=0.0, max_tokens=2))
    assert cut.unfinished == {0, 1}
    sampler.model.generation_config.eos_token_id = [written[0][0, -11].item()]  # the second of its twelve tokens
    sampler.model.generation_config.repetition_penalty = 9.0  # of the checkpoint, and none of ours
    sampler = LocalSampler(sampler.model, sampler._opened)
    (ended,) = sampler.sample([asked], SamplingSettings(answers=1, temperature=0.0, max_tokens=2))
    assert ended.unfinished == frozenset()
    assert long.startswith(str(ended.group.responses[0][0].content))


def test_what_cannot_be_is_refused(sampler: LocalSampler) -> None:
    with pytest.raises(LengthError, match=r"prompt 'p': \d+ tokens and an answer of 9000 are more than"):
        sampler.sample([prompt("Hi", id="p")], SamplingSettings(max_tokens=9000))
    for wrong in ({"answers": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"max_tokens": 0}, {"stop": ("",)}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            SamplingSettings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at_once"):
        LocalSampler(sampler.model, sampler._opened, at_once=0)
