//! Makes a new input out of a known one, in the words of its format: texts, numbers, names, tags and brackets are
//! moved, repeated and replaced as wholes, so that much of what comes out gets past the first look of a parser.

use super::random::Random;
use std::ops::Range;

/// What stands in the middle of a text and means something to somebody.
const PIECES: [&[u8]; 40] = [
    br"\ud83d",
    br"\ude00",
    br"\ud83d\ude00",
    br"\u0000",
    br"\u001b[2J",
    br"\n",
    br#"\""#,
    br"\\",
    br"\/",
    br"\u0041",
    b"\0",
    b"\n",
    b"\r\n",
    b"\x1b[31m",
    b"\x7f",
    b"\xff",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    "\u{feff}".as_bytes(),
    "\u{202e}".as_bytes(),
    "\u{2028}".as_bytes(),
    "\u{85}".as_bytes(),
    "\u{fdd0}".as_bytes(),
    "你好".as_bytes(),
    "😀".as_bytes(),
    b"%00",
    b"%2f",
    b"%25",
    b"..",
    b"/",
    b"\\",
    b"+",
    b"#",
    b"$SYS",
    b"'",
    b"]]>",
    b"<!--",
    b"&#x41;",
    b"&amp;",
    b"{$@}",
];

/// Numbers at which readers differ.
const NUMBERS: [&[u8]; 24] = [
    b"0",
    b"-0",
    b"1",
    b"-1",
    b"9",
    b"10",
    b"1.0",
    b"0.1",
    b"1E5",
    b"1e-7",
    b"1e999",
    b"-1e999",
    b"007",
    b"9007199254740993",
    b"2147483648",
    b"4294967296",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"18446744073709551616",
    b"100000000000",
    b"253402300800",
    b"99999999999999999999999999999999999999999",
    b"1700000000",
];

const BRACKETS: [(&[u8], &[u8]); 4] = [(b"[", b"]"), (b"{\"a\":", b"}"), (b"<a>", b"</a>"), (b"\"", b"\"")];

/// Around the depths at which parsers give up, and small ones.
const DEPTHS: [usize; 8] = [1, 2, 3, 16, 17, 126, 127, 128];

/// What new inputs are made of beside the old one.
pub struct Stock<'a> {
    /// Words of the format.
    pub words: &'a [Vec<u8>],
    /// Inputs to borrow from.
    pub others: &'a [Vec<u8>],
    /// Longest new input, in bytes.
    pub bytes_max: usize,
}

/// Another input, made by one to five changes.
pub fn mutate(input: &[u8], stock: &Stock<'_>, random: &mut Random) -> Vec<u8> {
    let mut made = input.to_vec();
    for _ in 0..=random.below(5) {
        made = changed(&made, stock, random);
        made.truncate(stock.bytes_max);
    }
    made
}

fn changed(input: &[u8], stock: &Stock<'_>, random: &mut Random) -> Vec<u8> {
    let tokens = tokens(input);
    let some = |random: &mut Random| run(&tokens, random);
    let at = |random: &mut Random| tokens.get(random.below(tokens.len())).map_or(0, |token| token.start);
    match random.below(15) {
        0 => replaced(input, some(random), b""),
        1 => {
            let piece = input[some(random)].to_vec();
            let place = at(random);
            replaced(input, place..place, &piece)
        }
        2 => swapped(input, some(random), some(random)),
        3 => replaced(input, one(&tokens, random), word(stock, random)),
        4 => {
            let place = at(random);
            replaced(input, place..place, word(stock, random))
        }
        5 | 6 => {
            // Inside of a token, a text more often than not.
            let texts: Vec<Range<usize>> =
                tokens.iter().filter(|token| input[(*token).clone()].starts_with(b"\"")).cloned().collect();
            let token = one(if texts.is_empty() { &tokens } else { &texts }, random);
            let inside = token.start + (1 + random.below(token.len())).min(token.len());
            replaced(input, inside..inside, random.pick::<&[u8]>(&PIECES))
        }
        7 => replaced(input, one(&tokens, random), random.pick::<&[u8]>(&NUMBERS)),
        8 if !stock.others.is_empty() => {
            let other: &Vec<u8> = random.pick(stock.others);
            let borrowed = run(&self::tokens(other), random);
            replaced(input, some(random), &other[borrowed])
        }
        9 => nested(input, one(&tokens, random), random),
        10 => {
            let piece = some(random);
            let times = [2, 3, 8, 130, 1100][random.below(5)];
            let most = stock.bytes_max / piece.len().max(1);
            let many = input[piece.clone()].repeat(times.min(most));
            replaced(input, piece, &many)
        }
        11 => {
            let mut made = input.to_vec();
            for byte in &mut made[one(&tokens, random)] {
                *byte = if random.below(2) == 0 { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
            }
            made
        }
        12 => input[..random.below(input.len() + 1)].to_vec(),
        13 => {
            let place = random.below(input.len() + 1);
            replaced(input, place..place, &[random.below(256) as u8])
        }
        _ => {
            let mut made = input.to_vec();
            let place = random.below(made.len());
            if let Some(byte) = made.get_mut(place) {
                *byte ^= 1 << random.below(8);
            }
            made
        }
    }
}

fn word<'a>(stock: &'a Stock<'_>, random: &mut Random) -> &'a [u8] {
    if stock.words.is_empty() { b"" } else { random.pick::<Vec<u8>>(stock.words) }
}

/// One token; the empty place at the start where there is none.
fn one(tokens: &[Range<usize>], random: &mut Random) -> Range<usize> {
    tokens.get(random.below(tokens.len())).cloned().unwrap_or(0..0)
}

/// Some neighbouring tokens.
fn run(tokens: &[Range<usize>], random: &mut Random) -> Range<usize> {
    let first = random.below(tokens.len());
    let last = (first + random.below(8)).min(tokens.len().saturating_sub(1));
    match (tokens.get(first), tokens.get(last)) {
        (Some(first), Some(last)) => first.start..last.end,
        (Some(_) | None, _) => 0..0,
    }
}

fn replaced(input: &[u8], place: Range<usize>, with: &[u8]) -> Vec<u8> {
    [&input[..place.start], with, &input[place.end..]].concat()
}

fn swapped(input: &[u8], one: Range<usize>, other: Range<usize>) -> Vec<u8> {
    let (left, right) = if one.start <= other.start { (one, other) } else { (other, one) };
    if left.end > right.start {
        return input.to_vec();
    }
    let between = &input[left.end..right.start];
    [&input[..left.start], &input[right.clone()], between, &input[left], &input[right.end..]].concat()
}

fn nested(input: &[u8], token: Range<usize>, random: &mut Random) -> Vec<u8> {
    let (open, close) = *random.pick(&BRACKETS);
    let depth = *random.pick(&DEPTHS);
    let inner = [&open.repeat(depth), &input[token.clone()], &close.repeat(depth)].concat();
    replaced(input, token, &inner)
}

/// The texts, words, tags and signs of an input, in their order, as JSON, TOML, XML and lists of words have them.
pub fn tokens(input: &[u8]) -> Vec<Range<usize>> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while start < input.len() {
        let rest = &input[start..];
        let length = match rest[0] {
            b'"' => text_length(rest),
            b'<' => rest.iter().take(80).position(|byte| *byte == b'>').map_or(1, |end| end + 1),
            byte if is_word(byte) => rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len()),
            byte if byte.is_ascii_whitespace() => {
                rest.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(rest.len())
            }
            _ => 1,
        };
        tokens.push(start..start + length);
        start += length;
    }
    tokens
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'_' | b'-' | b'.')
}

/// Up to the quote that ends it, or the end of the line.
fn text_length(rest: &[u8]) -> usize {
    let mut is_escaped = false;
    for (index, byte) in rest.iter().enumerate().skip(1) {
        match byte {
            b'\n' => return index,
            b'"' if !is_escaped => return index + 1,
            _ => is_escaped = *byte == b'\\' && !is_escaped,
        }
    }
    rest.len()
}
