package spec

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Reserved names. Neither may name a state.
const (
	// Internal is the internal action (tau). It may stand wherever an action may stand.
	Internal = "__internal__"
	// Initialisation is the action of the synthetic first step of every
	// instance. Users may not use it as an action.
	Initialisation = "__initialisation__"
)

// Limits of what a client can send. All sizes are in bytes of UTF-8, all other
// limits are counts.
const (
	// MaxIdentifierBytes bounds the identifier of an instance.
	MaxIdentifierBytes = 512
	// MaxNameBytes bounds the name of a state or an action.
	MaxNameBytes = 256
	// MaxNamespaceBytes bounds the name of a namespace.
	MaxNamespaceBytes = 128
	// MaxSpecNameBytes bounds the name of a specification.
	MaxSpecNameBytes = 256
	// MaxRequestIDBytes bounds a request id.
	MaxRequestIDBytes = 128
	// MaxMetaKeys bounds the keys of an instance's meta data.
	MaxMetaKeys = 64
	// MaxMetaBytes bounds the keys and values of an instance's meta data together.
	MaxMetaBytes = 8 << 10
	// MaxTransitions bounds the transitions of a specification.
	MaxTransitions = 10_000
	// MaxModelTransitions bounds the transitions of an implementation model.
	MaxModelTransitions = 20_000
	// DefaultHistoryLimit is how many steps of an instance are kept unless the specification says otherwise.
	DefaultHistoryLimit = 1000
	// MaxHistoryLimit bounds the history limit that a specification may ask for.
	MaxHistoryLimit = 100_000
	// MaxCommandBytes bounds one encoded client command.
	MaxCommandBytes = 64 << 10
	// MaxBatch bounds the commands of one batch call.
	MaxBatch = 1000
	// MaxPage bounds the items of one page of a listing.
	MaxPage = 1000
	// MaxDocumentBytes bounds a YAML document that Parse reads.
	MaxDocumentBytes = 32 << 20
)

// FieldErrorKind tells apart the ways in which a field can be wrong.
type FieldErrorKind int

const (
	// Malformed is a value that is not of the form that the field has.
	Malformed FieldErrorKind = iota + 1
	// Limit is a value beyond a documented limit.
	Limit
	// Reserved is a name that users may not use there.
	Reserved
)

// String names the kind in lower case.
func (k FieldErrorKind) String() string {
	switch k {
	case Malformed:
		return "malformed"
	case Limit:
		return "limit"
	case Reserved:
		return "reserved"
	}
	return fmt.Sprintf("FieldErrorKind(%d)", int(k))
}

// FieldError says which field of a request or file is wrong, what is wrong with
// it, and how to mend it.
type FieldError struct {
	// Field is the name of the field as users write it, for example "to_state".
	Field string
	// Problem says what is wrong; it completes the sentence that begins with the field.
	Problem string
	// Hint says how to mend it; it may be empty.
	Hint string
	// Kind is the kind of the problem.
	Kind FieldErrorKind
}

// Error is the field, the problem and the hint in one line.
func (e *FieldError) Error() string {
	text := e.Problem
	if e.Field != "" {
		text = e.Field + " " + e.Problem
	}
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// quote shows a value in an error message, cut to a readable length.
func quote(v string) string {
	const show = 60
	if len(v) <= show {
		return fmt.Sprintf("%q", v)
	}
	cut := show
	for cut > 0 && !utf8.RuneStart(v[cut]) {
		cut--
	}
	return fmt.Sprintf("%q...", v[:cut])
}

// checkText is the common rule of all names: 1..limit bytes of UTF-8 without control characters.
func checkText(field, v string, limit int) error {
	if v == "" {
		return &FieldError{Field: field, Problem: "is empty", Hint: fmt.Sprintf("give 1 to %d bytes of text", limit), Kind: Malformed}
	}
	if len(v) > limit {
		return &FieldError{Field: field, Problem: fmt.Sprintf("is %d bytes long, the limit is %d", len(v), limit),
			Hint: "use a shorter value", Kind: Limit}
	}
	if !utf8.ValidString(v) {
		return &FieldError{Field: field, Problem: fmt.Sprintf("%s is not valid UTF-8", quote(v)), Hint: "encode the text as UTF-8", Kind: Malformed}
	}
	for i, r := range v {
		if unicode.IsControl(r) {
			return &FieldError{Field: field, Problem: fmt.Sprintf("%s has the control character %U at byte %d", quote(v), r, i),
				Hint: "remove it", Kind: Malformed}
		}
	}
	return nil
}

// CheckIdentifier checks the identifier of an instance. The error is a *FieldError.
func CheckIdentifier(field, v string) error { return checkText(field, v, MaxIdentifierBytes) }

// CheckState checks the name of a state, which may be neither of the reserved
// names. The error is a *FieldError.
func CheckState(field, v string) error {
	if v == Internal || v == Initialisation {
		return &FieldError{Field: field, Problem: fmt.Sprintf("is the reserved name %s", v), Hint: "no state may have this name; choose another", Kind: Reserved}
	}
	return checkText(field, v, MaxNameBytes)
}

// CheckAction checks the name of an action. Internal is an action like any
// other here; Initialisation is refused. The error is a *FieldError.
func CheckAction(field, v string) error {
	if v == Initialisation {
		return &FieldError{Field: field, Problem: fmt.Sprintf("is the reserved name %s", v),
			Hint: "initialise an instance by the init call; choose another name for this action", Kind: Reserved}
	}
	return checkText(field, v, MaxNameBytes)
}

// CheckNamespace checks the name of a namespace. The error is a *FieldError.
func CheckNamespace(field, v string) error { return checkText(field, v, MaxNamespaceBytes) }

// CheckRequestID checks a request id. The error is a *FieldError.
func CheckRequestID(field, v string) error { return checkText(field, v, MaxRequestIDBytes) }

// CheckSpecName checks the name of a specification. Names become part of file
// names, so separators and a leading dot are refused. The error is a *FieldError.
func CheckSpecName(field, v string) error {
	if err := checkText(field, v, MaxSpecNameBytes); err != nil {
		return err
	}
	if i := strings.IndexAny(v, `/\`); i >= 0 {
		return &FieldError{Field: field, Problem: fmt.Sprintf("%s contains %q", quote(v), v[i]),
			Hint: "the name becomes part of a file name; use - or . instead", Kind: Malformed}
	}
	if v[0] == '.' {
		return &FieldError{Field: field, Problem: fmt.Sprintf("%s begins with a dot", quote(v)),
			Hint: "the name becomes part of a file name; begin with another character", Kind: Malformed}
	}
	return nil
}

// CheckMeta checks the meta data of an instance: at most MaxMetaKeys keys, and at
// most MaxMetaBytes in keys and values together, all UTF-8. Values may be empty
// and may hold control characters, keys may not. The error is a *FieldError.
func CheckMeta(meta map[string]string) error {
	if len(meta) > MaxMetaKeys {
		return &FieldError{Field: "meta", Problem: fmt.Sprintf("has %d keys, the limit is %d", len(meta), MaxMetaKeys), Hint: "keep fewer keys", Kind: Limit}
	}
	size := 0
	for k, v := range meta {
		size += len(k) + len(v)
	}
	if size > MaxMetaBytes {
		return &FieldError{Field: "meta", Problem: fmt.Sprintf("is %d bytes, the limit is %d", size, MaxMetaBytes),
			Hint: "keep large data elsewhere and store a reference", Kind: Limit}
	}
	for k, v := range meta {
		if err := checkText("meta key", k, MaxMetaBytes); err != nil {
			return err
		}
		if !utf8.ValidString(v) {
			return &FieldError{Field: fmt.Sprintf("meta value of %s", quote(k)), Problem: "is not valid UTF-8", Hint: "encode the text as UTF-8", Kind: Malformed}
		}
	}
	return nil
}
