// Text as the service folds and orders it (backend/words.py): tests compare the two letter by letter.

const IGNORABLE =
  /[\u00ad\u034f\u061c\u115f-\u1160\u17b4-\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]+/gu;
const NEAR: Record<string, string> = { æ: "ae", œ: "oe", ø: "o", ł: "l", đ: "d", ħ: "h", ŧ: "t", ð: "d", þ: "th" };
const FOLDED_MAX = 2000;
const KEY_MAX = 200;

const isAscii = (text: string): boolean => /^[\x00-\x7f]*$/.test(text);
const cut = (text: string, most: number): string =>
  text.length > most ? Array.from(text).slice(0, most).join("") : text;

/** What the spellings of a text have in common. */
export function fold(text: string): string {
  if (isAscii(text)) return text.toLowerCase();
  const apart = caseless(text.normalize("NFKD").toUpperCase()).normalize("NFKD");
  return apart.replace(IGNORABLE, "").replace(/i\u0307+/g, "i").normalize("NFKC");
}

// Unicode's case folding, which JavaScript has not, of texts in upper case; Cherokee's is to the upper one.
const caseless = (upper: string): string =>
  upper.toLowerCase().replace(/[ςß\uab70-\uabbf\u13f8-\u13fd]/g, (letter) =>
    letter === "ς" ? "σ" : letter === "ß" ? "ss" : letter.toUpperCase(),
  );

/** As fold(), as far as the service looks into a text. */
export const searched = (text: string): string => cut(fold(text), FOLDED_MAX);

export const foldTag = (tag: string): string =>
  cut(
    fold(tag)
      .split(/[\s\x1c-\x1f\x85]+/)
      .filter((part) => part && part !== "\ufeff")
      .join(" "),
    KEY_MAX,
  );

const combines = new Map<string, boolean>();

/** Whether a character has a combining class, which JavaScript does not tell: those that have change places. */
function isCombining(letter: string): boolean {
  let known = combines.get(letter);
  if (known === undefined) {
    const [before, after] = [`\u0345${letter}`, `${letter}\u0334`];
    known = /\p{M}/u.test(letter) && (before.normalize("NFD") !== before || after.normalize("NFD") !== after);
    combines.set(letter, known);
  }
  return known;
}

/** What titles are ordered by, with compare(). */
export function sortKey(title: string): string {
  const folded = fold(title);
  if (isAscii(folded)) return cut(folded, KEY_MAX);
  const apart = folded.replace(/й/g, "и\uffff").normalize("NFD");
  const bare = Array.from(apart).filter((letter) => !isCombining(letter)).join("");
  const plain = bare.normalize("NFC").replace(/[æœøłđħŧðþ]/g, (letter) => NEAR[letter] ?? letter);
  return cut(plain === folded ? plain : `${plain}\x01${folded}`, KEY_MAX);
}

/** The order of code points, which `<` of two texts in JavaScript is not. */
export function compare(one: string, other: string): number {
  const length = Math.min(one.length, other.length);
  for (let n = 0; n < length; n++) {
    let [a, b] = [one.charCodeAt(n), other.charCodeAt(n)];
    if (a === b) continue;
    // Halves of a pair stand for what is behind all else.
    if (a >= 0xd800 && b >= 0xd800) [a, b] = [a >= 0xe000 ? a - 0x800 : a + 0x2000, b >= 0xe000 ? b - 0x800 : b + 0x2000];
    return a - b;
  }
  return one.length - other.length;
}
