from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from etude.score.describe import describe_often
from etude.score.planner import draw_plan
from etude.vocabulary import EOS_ID, KEYS, PAD_ID, TENS, UNK_ID, WORD_MARK, WORDS, tokenizer


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    """As others get it: written and read back."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer().save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@settings(deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_known_pieces_and_comes_back(text: str, loaded: PreTrainedTokenizerFast) -> None:
    *pieces, last = loaded(text).input_ids
    assert last == EOS_ID
    assert all(piece > UNK_ID for piece in pieces)
    folded = " ".join(unicodedata.normalize("NFKC", text).lower().split())
    assert "".join(loaded.decode(pieces).split()) == "".join(folded.split())


@pytest.mark.parametrize("text", ["</s>", "<unk>", "<pad>", "a <pad><unk> b", "<0x41>"])
def test_text_that_spells_a_token_is_text(text: str, loaded: PreTrainedTokenizerFast) -> None:
    *pieces, last = loaded(text).input_ids
    assert last == EOS_ID
    assert loaded.decode(pieces).replace(" ", "") == text.replace(" ", "")
    assert min(pieces) > UNK_ID + 256


def test_words_of_music_are_single_pieces(loaded: PreTrainedTokenizerFast) -> None:
    prompt = "A 30-second Grand Piano lo-fi improvisation, 120 bpm in F#"
    assert pieces_of(prompt, loaded) == (
        "▁a ▁3 0 ▁- ▁second ▁grand ▁piano ▁lo ▁- ▁fi ▁improvisation ▁, ▁12 0 ▁bpm ▁in ▁f ▁# </s>"
    )
    words = [word for theme in (KEYS, TENS, *WORDS.values()) for word in theme.split()]
    assert len(words) == len(set(words))
    assert all(len(loaded(word).input_ids) == 2 for word in words)
    assert WORD_MARK + words[0] in loaded.get_vocab()


def test_descriptions_are_whole_words_and_numbers_of_two_pieces(loaded: PreTrainedTokenizerFast) -> None:
    texts = [each.text for seed in range(300) for each in describe_often(draw_plan(seed), 4)]
    assert len(texts) > 1000
    for text in texts:
        pieces = pieces_of(text, loaded).split()
        assert WORD_MARK not in pieces
        alone = [piece for piece in pieces[:-1] if not piece.startswith(WORD_MARK)]
        assert all(piece.isdigit() and len(piece) == 1 for piece in alone), text
        assert pieces_of("-".join(text.split()), loaded).replace("▁- ", "") == " ".join(pieces).replace("▁- ", "")


def pieces_of(text: str, tokenizer: PreTrainedTokenizerFast) -> str:
    return " ".join(tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids))


def test_padding_is_masked_and_at_the_end(loaded: PreTrainedTokenizerFast) -> None:
    batch = loaded(["piano", "slow piano"], padding=True)
    assert batch.input_ids[0][-1] == PAD_ID
    assert batch.attention_mask == [[1, 1, 0], [1, 1, 1]]
    assert (loaded.pad_token_id, loaded.eos_token_id, loaded.unk_token_id) == (PAD_ID, EOS_ID, UNK_ID)


def test_empty_text_is_its_end_alone(loaded: PreTrainedTokenizerFast) -> None:
    assert loaded("").input_ids == loaded(" ").input_ids == [EOS_ID]
