"""The embedded model's tokenizer: a small fixed vocabulary in T5's manner, with every byte as a fallback.

Text is folded with NFKC and to lower case, split at white space, and each word, marked by a leading `▁`, is cut into
the likeliest pieces: a whole word where the vocabulary has it, else characters, else the bytes of its UTF-8. So text
in any script maps to known pieces, never to `<unk>`, and text that spells a special token's name is text.
`</s>` ends every sequence.
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

# By theme, each word once.
WORDS = {
    "what holds a prompt together": (
        "a an and as at by for from in into its like of on or over the to under up very with without"
    ),
    "how long, how fast, how loud": (
        "second seconds minute minutes bar bars beat beats bpm tempo slow slowly fast steady driving quiet soft"
        " loud gentle rising falling building fading begins ends long short"
    ),
    "instruments and voices": (
        "accordion acoustic bagpipes banjo bass bassoon bell bells brass cello chimes choir clarinet congas"
        " cymbals didgeridoo double drum drums electric fiddle flute french glockenspiel gong grand guitar"
        " guitars hammond handpan harmonica harp harpsichord hat hats horn horns hurdy kalimba keys kick koto"
        " lead lute mandolin marimba mellotron oboe orchestra organ oud pad pads percussion piano pipe plucked"
        " rhodes sampled saxophone sitar snare steel string strings sub synth synthesizer tabla tambourine"
        " timpani toms trombone trumpet tuba ukulele vibraphone viola violin violins vocal vocals voice voices"
        " whistle woodwinds xylophone"
    ),
    "styles": (
        "808 80s 90s afrobeat ambient baroque blues bluegrass bossa cinematic classical country dance disco dub"
        " drone breakbeat edm electro electronic epic flamenco folk funk funky garage gospel groove hip hop house"
        " indie industrial jazz latin lo fi lofi lullaby march medieval metal minimal modern motown new nova"
        " opera pop progressive psychedelic punk ragtime reggae renaissance rock romantic salsa samba shoegaze"
        " ska soul soundtrack surf swing synthwave tango techno trance trap trip waltz world"
    ),
    "moods and colours of sound": (
        "airy angry bright calm catchy chill clean cold cool dark deep dirty distorted dreamy dry dusty eerie"
        " energetic ethereal glassy happy haunting heavy hopeful hypnotic intimate joyful light lonely lush"
        " meditative melancholic mellow muted mysterious noisy nostalgic peaceful playful punchy raw reverb rich"
        " sad serene shimmering simple smooth solemn sparse spacey strong sweet tender tense upbeat uplifting"
        " vinyl warm wet wide wild wistful"
    ),
    "how it is made": (
        "arpeggio arpeggiated arpeggios ballad break chord chords chorus counterpoint crescendo drop fill flat"
        " fugue harmony hook improvisation improvised instrumental intro jam key line loop major melodic melody"
        " minor motif music octave outro phrase piece played playing polyphonic quartet recording rhythm rhythmic"
        " riff scale sharp solo song sonata sound sounds staccato syncopated texture theme track trio tune tuning"
        " variation verse"
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
    pieces += [(WORD_MARK + word, _WORD_SCORE) for words in WORDS.values() for word in words.split()]

    backend = Tokenizer(Unigram(pieces, unk_id=UNK_ID, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(WORD_MARK, prepend_scheme="always")]
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
