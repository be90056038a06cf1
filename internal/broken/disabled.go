//go:build !spexbroken

package broken

// Enabled tells whether this build can break promises. Whoever asks Is asks it first,
// so that the compiler leaves out the rest.
const Enabled = false

// Is tells whether this process breaks the promise. In an ordinary build it does not.
func Is(Break) bool { return false }
