"""The embedded model's tokenizer: a small fixed vocabulary in T5's manner, with every byte as a fallback.

Text is folded with NFKC and to lower case and split at white space and around punctuation. Each word or sign, marked
by a leading `▁`, is cut into the likeliest pieces: a whole word where the vocabulary has it, else characters, else the
bytes of its UTF-8. So lo-fi and lo fi share their words, text in any script maps to known pieces, never to `<unk>`,
and text that spells a special token's name is text. `</s>` ends every sequence.

Every word of every description that `etude.score` writes is one piece (a test says so), and a tempo is two, its tens
and its ones, so that tempi near each other share a piece. Pieces learned from those descriptions would add nothing but
parts of the same words.
"""

from __future__ import annotations

import string

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerFast

PAD, EOS, UNK = "<pad>", "</s>", "<unk>"
PAD_ID, EOS_ID, UNK_ID = 0, 1, 2

WORD_MARK = "▁"

# Log probabilities. A word costs less than two characters, so the likeliest cut takes whole words. What is not text, a
# special token or a byte, costs more than the characters of its name, so that text never spells it.
_WORD_SCORE, _CHARACTER_SCORE, _NOT_TEXT_SCORE = -8.0, -10.0, -100.0

# Letters of keys, and the flats among them; a number's first digits. Other letters are characters.
KEYS = "b c d e f g ab bb db eb gb"
TENS = " ".join(str(number) for number in range(1, 21))

# By theme, each word once.
WORDS = {
    "what holds a prompt together": (
        "a alone an and as at by create end for from i in into its like make no of on or out over play please that"
        " the to under up very want with without"
    ),
    "how long, how fast, how loud": (
        "second seconds minute minutes bar bars beat beats bpm per tempo mid medium slow slowly fast steady driving"
        " quiet soft loud gentle rising falling building builds fading fades begins ends final long short time"
    ),
    "instruments and voices": (
        "accordion acoustic bagpipes banjo bass bassoon bassy bell bells box brass brushed cello chimes choir"
        " clarinet congas cymbals didgeridoo double drum drums electric fiddle flute french glockenspiel gong grand"
        " guitar guitars hammond handpan harmonica harp harpsichord hat hats horn horns hurdy kalimba keys kick kit"
        " koto lead lute machine mandolin marimba mellotron nylon oboe orchestra organ oud pad pads percussion piano"
        " pipe plucked rhodes sampled sax saxophone sitar snare steel string strings sub synth synthesizer tabla"
        " tambourine timpani toms trombone trumpet tuba ukulele upright vibraphone viola violin violins vocal vocals"
        " voice voices whistle woodwinds xylophone"
    ),
    "styles": (
        "808 80s 90s afrobeat ambient backbeat baroque blues bluegrass boogie bossa cinematic classical country"
        " dance disco dub drone breakbeat edm electro electronic epic flamenco folk funk funky garage gospel groove"
        " groovy hip hop house indie industrial jazz latin lo fi lofi lullaby march marching medieval metal minimal"
        " modern motown new nova opera pop progressive psychedelic punk ragtime reggae renaissance rock romantic"
        " salsa samba shoegaze shuffle ska soul soundscape soundtrack surf swing swinging synthwave tango techno"
        " trance trap trip waltz world"
    ),
    "moods and colours of sound": (
        "airy angry bouncing bright calm catchy cheerful chill clean cold cool dark deep dirty distorted dreamy dry"
        " dusty eerie energetic ethereal glassy happy haunting heavy hopeful hypnotic intimate joyful light lively"
        " lonely lush majestic meditative melancholic mellow muted mysterious noisy nostalgic peaceful playful"
        " pounding punchy raw relaxing reverb rich rolling sad serene shimmering simple smooth solemn soothing"
        " sparse spacey strong sweet tender tense thumping upbeat uplifting vinyl warm wet wide wild wistful"
    ),
    "how it is made": (
        "arpeggio arpeggiated arpeggios back ballad band break chord chords chorus counterpoint crescendo drop duo"
        " ensemble fill flat floor four fugue group harmony hit hits hook improvisation improvised instrumental"
        " intervals intro jam key laid line loop major melodic melody minor motif music note notes octave offbeat"
        " one outro phrase piece played playing polyphonic quartet recording repeating rhythm rhythmic riff scale"
        " sharp single solo song sonata sound sounds staccato syncopated texture theme track trio tune tuning two"
        " variation verse walking"
    ),
    "places and pictures": (
        "beach birds church city club concert evening film fire forest game hall live morning night ocean rain"
        " rainy room sea sky space stars street studio summer sun thunder train water wind winter"
    ),
}


def tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer; `save_pretrained` writes what `AutoTokenizer.from_pretrained` reads back. The same every time."""
    byte_pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = [(piece, _NOT_TEXT_SCORE) for piece in (PAD, EOS, UNK, *byte_pieces)]
    characters = WORD_MARK + string.digits + string.ascii_lowercase + string.punctuation
    pieces += [(character, _CHARACTER_SCORE) for character in characters]
    words = [word for theme in (KEYS, TENS, *WORDS.values()) for word in theme.split()]
    pieces += [(WORD_MARK + word, _WORD_SCORE) for word in (*string.punctuation, *words)]

    backend = Tokenizer(Unigram(pieces, unk_id=UNK_ID, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation(behavior="isolated"),
            pre_tokenizers.Metaspace(WORD_MARK, prepend_scheme="always"),
        ]
    )
    backend.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(WORD_MARK, prepend_scheme="always")]
    )
    backend.post_processor = processors.TemplateProcessing(
        single=["$A", EOS], pair=["$A", EOS, "$B", EOS], special_tokens=[(EOS, EOS_ID)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        model_max_length=512,
        split_special_tokens=True,
    )
