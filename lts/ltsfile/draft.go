package ltsfile

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/spexio/spex/lts"
)

// edge is a transition with a label of a draft.
type edge struct {
	from, label, to int32
}

const (
	firstPage = 1 << 8
	lastPage  = 1 << 16
)

// recent is the number of labels that are found without the map.
const recent = 256

const emptyHint = "name the action; the internal one is called i or tau"

// draft is a system while it is read. Its labels are numbered as they come, the
// internal action among them; finish sorts that out.
type draft struct {
	src     *source
	o       *Options
	states  int
	initial lts.State
	// declaredAt is the line that says how many states there are, if one does.
	declaredAt int
	// names are the names of the states; nil when the format has none.
	names []string
	tau   []string
	// pages hold the transitions. They grow to a limit and are never copied, so
	// nothing is left over for the collector while a large file is read.
	pages       [][]edge
	page        []edge // the last of pages
	transitions int
	ids         map[string]int32
	labels      []string
	nameBytes   int // of labels and names
	// cache is looked up by the hash of a label.
	cache [recent]cached
}

type cached struct {
	name string
	id   int32
}

func newDraft(src *source, o *Options) *draft {
	return &draft{src: src, o: o, ids: make(map[string]int32)}
}

// add adds a transition.
func (d *draft) add(from, label, to int32) {
	if len(d.page) == cap(d.page) {
		d.turn()
	}
	d.page = append(d.page, edge{from, label, to})
	d.transitions++
}

// turn begins a new page.
func (d *draft) turn() {
	if len(d.pages) > 0 {
		d.pages[len(d.pages)-1] = d.page
	}
	d.page = make([]edge, 0, max(firstPage, min(2*cap(d.page), lastPage)))
	d.pages = append(d.pages, d.page)
}

// room says whether one more transition is allowed.
func (d *draft) room(line int) error {
	if d.transitions < d.o.MaxTransitions {
		return nil
	}
	return d.tooManyTransitions(line)
}

func (d *draft) tooManyTransitions(line int) error {
	return d.src.fail(line, nil, fmt.Sprintf("there are more than %d transitions", d.o.MaxTransitions), "raise the limit")
}

// hash is FNV-1a, which is good enough for a cache where a miss costs little.
func hash(name []byte) uint32 {
	h := uint32(2166136261)
	for _, c := range name {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}

// label is the number of a label; line is for errors.
func (d *draft) label(name []byte, line int) (int32, error) {
	slot := &d.cache[hash(name)%recent]
	if slot.name == string(name) && len(name) > 0 {
		return slot.id, nil
	}
	return d.labelSlow(name, line, slot)
}

func (d *draft) labelSlow(name []byte, line int, slot *cached) (int32, error) {
	id, known := d.ids[string(name)]
	if !known {
		if len(name) == 0 {
			return 0, d.src.fail(line, nil, "the label is empty", emptyHint)
		}
		if len(d.labels) == d.o.MaxLabels {
			return 0, d.src.fail(line, name, fmt.Sprintf("there are more than %d different labels", d.o.MaxLabels), "raise the limit")
		}
		if err := d.checkName("label", name, line); err != nil {
			return 0, err
		}
		id = int32(len(d.labels))
		own := string(name)
		d.ids[own] = id
		d.labels = append(d.labels, own)
	}
	*slot = cached{d.labels[id], id}
	return id, nil
}

// checkName accounts for a name that is going to be kept.
func (d *draft) checkName(what string, name []byte, line int) error {
	if len(name) > d.o.MaxName {
		return d.src.fail(line, name, fmt.Sprintf("the %s is longer than %d bytes", what, d.o.MaxName), "shorten it, or raise the limit")
	}
	d.nameBytes += len(name)
	if d.nameBytes > d.o.MaxNames {
		return d.src.fail(line, name, fmt.Sprintf("labels and names together are longer than %d bytes", d.o.MaxNames), "raise the limit")
	}
	return nil
}

// addState adds a state with a name.
func (d *draft) addState(name []byte, line int) (lts.State, error) {
	if d.states == d.o.MaxStates {
		return 0, d.tooManyStates(line)
	}
	if len(name) == 0 {
		return 0, d.src.fail(line, nil, "a state has no name", "give it one that is not empty")
	}
	if err := d.checkName("state's name", name, line); err != nil {
		return 0, err
	}
	d.states++
	d.names = append(d.names, string(name))
	return lts.State(d.states - 1), nil
}

func (d *draft) tooManyStates(line int) error {
	return d.src.fail(line, nil, fmt.Sprintf("there are more than %d states", d.o.MaxStates), "raise the limit")
}

// relabel says which labels of the alphabet the labels of the draft are. Visible
// ones are interned in the order of their names.
func (d *draft) relabel(alphabet *lts.Alphabet) []lts.Label {
	tau := d.o.Tau
	if tau == nil {
		tau = d.tau
	}
	if tau == nil {
		tau = defaultTau
	}
	order := make([]int32, 0, len(d.labels))
	for id := range d.labels {
		order = append(order, int32(id))
	}
	slices.SortFunc(order, func(a, b int32) int {
		if d.labels[a] < d.labels[b] {
			return -1
		}
		return 1
	})
	of := make([]lts.Label, len(d.labels))
	for _, id := range order {
		if name := d.labels[id]; slices.Contains(tau, name) {
			of[id] = lts.Tau
		} else {
			of[id] = alphabet.Intern(name)
		}
	}
	return of
}

// finish makes the system. Readers have seen to it that the initial state and those of
// all transitions exist.
func (d *draft) finish() (*lts.System, error) {
	if d.states-2*d.transitions-1 > MaxIdle {
		return nil, d.src.fail(d.declaredAt, nil, fmt.Sprintf("%d states are more than %s can lead to", d.states, count(d.transitions, "transition")),
			fmt.Sprintf("declare at most %d states without transitions", MaxIdle))
	}
	alphabet := d.o.Alphabet
	if alphabet == nil {
		alphabet = new(lts.Alphabet)
	}
	if len(d.pages) > 0 {
		d.pages[len(d.pages)-1] = d.page
	}
	of := d.relabel(alphabet)
	system := &lts.System{Alphabet: alphabet, States: d.stateNames()}
	system.LTS = lts.Assemble(d.states, d.initial, func(yield func(from lts.State, label lts.Label, to lts.State)) {
		for _, page := range d.pages {
			for _, e := range page {
				yield(e.from, of[e.label], e.to)
			}
		}
	})
	if d.o.Stats != nil {
		*d.o.Stats = Stats{Bytes: d.src.total, Duplicates: d.transitions - system.LTS.Transitions()}
	}
	return system, nil
}

// stateNames is nil when all states have the names that they would have anyway.
func (d *draft) stateNames() []string {
	for s, name := range d.names {
		if name != strconv.Itoa(s) {
			return d.names
		}
	}
	return nil
}
