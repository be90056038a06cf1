//go:build !spexbroken

package broken

// Is tells whether this process breaks the promise. In an ordinary build it does not.
func Is(Break) bool { return false }
