package lts

// Label is the index of an action. Tau is the internal one, every other label is visible.
type Label = int32

// Tau is the label of the internal action.
const Tau Label = 0

// Alphabet gives names to labels. The zero value is an alphabet with Tau only.
type Alphabet struct {
	ids   map[string]Label
	names []string // names[l-1] is the name of label l
}

// Intern returns the label of a visible action, which it adds if it is new. It
// never returns Tau, whatever the name.
func (a *Alphabet) Intern(name string) Label {
	if l, ok := a.ids[name]; ok {
		return l
	}
	if a.ids == nil {
		a.ids = make(map[string]Label)
	}
	a.names = append(a.names, name)
	l := Label(len(a.names))
	a.ids[name] = l
	return l
}

// Lookup returns the label of a visible action and whether the alphabet has it.
func (a *Alphabet) Lookup(name string) (Label, bool) {
	l, ok := a.ids[name]
	return l, ok
}

// Name is the name of a visible label; it is empty for Tau and for labels that the
// alphabet does not have.
func (a *Alphabet) Name(l Label) string {
	if l <= Tau || int(l) > len(a.names) {
		return ""
	}
	return a.names[l-1]
}

// Len is the number of labels including Tau, that is, the next label that Intern gives out.
func (a *Alphabet) Len() int { return len(a.names) + 1 }
