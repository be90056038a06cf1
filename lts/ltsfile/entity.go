package ltsfile

import (
	"bytes"
	"html"
	"strconv"
	"unicode/utf8"
)

// maxEntity is the length of the longest entity that is looked at, in bytes; HTML's
// longest name has 31 letters.
const maxEntity = 40

// entities replaces what begins with mark and is an HTML entity otherwise: &amp; or
// &#38; in DOT, and #amp; or #38; in Mermaid, which has no second mark for numbers.
// What only looks like an entity stays. The text is changed in place, since an
// entity is never shorter than what it stands for.
func entities(text []byte, mark byte) []byte {
	from := bytes.IndexByte(text, mark)
	if from < 0 {
		return text
	}
	out := text[:from]
	for i := from; i < len(text); {
		if text[i] == mark {
			if r, size := entity(text[i+1:], mark == '&'); size > 0 {
				i += 1 + size
				out = append(out, r...)
				continue
			}
		}
		out = append(out, text[i])
		i++
	}
	return out
}

// entity is what the entity at the beginning of text means, and its length; a
// length of 0 means that there is none.
func entity(text []byte, numberMark bool) (meaning string, size int) {
	end := bytes.IndexByte(text[:min(len(text), maxEntity)], ';')
	if end <= 0 {
		return "", 0
	}
	name, size := string(text[:end]), end+1
	number, isNumber := name, name[0] >= '0' && name[0] <= '9'
	if numberMark {
		isNumber = name[0] == '#'
		number = name[1:]
	}
	if !isNumber {
		// The library knows the names, and takes no text without the semicolon for
		// one here; it gets one entity at a time so that nothing else is touched.
		meaning = html.UnescapeString("&" + name + ";")
		if !isWord(name) || meaning == "&"+name+";" || len(meaning) > 1+size || meaning[len(meaning)-1] == ';' && name != "semi" {
			return "", 0
		}
		return meaning, size
	}
	base := 10
	if len(number) > 1 && numberMark && (number[0] == 'x' || number[0] == 'X') {
		number, base = number[1:], 16
	}
	v, err := strconv.ParseUint(number, base, 32)
	if err != nil || v > utf8.MaxRune || !utf8.ValidRune(rune(v)) {
		return "", 0
	}
	return string(rune(v)), size
}

func isWord(name string) bool {
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9') {
			return false
		}
	}
	return name != ""
}
