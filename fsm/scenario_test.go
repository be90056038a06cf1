package fsm

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

var rewrite = flag.Bool("rewrite", false, "write the outputs of the scenarios anew; review the difference")

// A scenario is a file of blocks: commands, a line `----`, what they answered,
// an empty line. Each line is an entry; one that begins with `+` belongs to the
// entry of the line before it. `at 5m` sets the clock, and a word that is no
// command of a machine asks it something.
type scenario struct {
	*testing.T
	m applier
	// twin is m as it was before the last entry, restored from a snapshot: both
	// must answer the same and end up the same.
	twin  applier
	index uint64
	now   time.Time
	out   strings.Builder
	// command makes a command of a line's words; nil asks instead.
	command func(a args) *statev1.Command
	ask     func(a args)
}

func runScenarios(t *testing.T, pattern string, setup func(*scenario)) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios at %s: %v", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			s := &scenario{T: t, now: base}
			setup(s)
			s.file(file)
		})
	}
}

func (s *scenario) file(path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		s.Fatal(err)
	}
	var got strings.Builder
	var block []string
	skipping := false
	line := 0
	for text := range strings.Lines(strings.TrimRight(string(data), "\n") + "\n") {
		line++
		text = strings.TrimSuffix(text, "\n")
		switch {
		case skipping:
			skipping = text != ""
			continue
		case text == "----":
			fmt.Fprintf(&got, "%s\n----\n%s\n", strings.Join(block, "\n"), s.block(block, path, line))
			block, skipping = nil, true
		default:
			block = append(block, text)
		}
	}
	if len(block) > 0 {
		s.Fatalf("%s: the last block has no ----", path)
	}
	want := got.String()
	if *rewrite {
		if err := os.WriteFile(path, []byte(strings.TrimRight(want, "\n")+"\n"), 0o644); err != nil {
			s.Fatal(err)
		}
		return
	}
	if strings.TrimRight(want, "\n") != strings.TrimRight(string(data), "\n") {
		s.Errorf("%s differs; with -rewrite it would be:\n%s", path, want)
	}
}

// block runs commands and returns what they answered.
func (s *scenario) block(lines []string, path string, end int) string {
	s.out.Reset()
	var entry []*statev1.Command
	flush := func() {
		if len(entry) > 0 {
			s.entry(entry)
		}
		entry = nil
	}
	for i, text := range lines {
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		more := strings.HasPrefix(text, "+")
		a := args{s: s, at: fmt.Sprintf("%s:%d", path, end-len(lines)+i), words: strings.Fields(strings.TrimPrefix(text, "+"))}
		if !more {
			flush()
		}
		if a.word(0) == "at" {
			s.now = base.Add(a.duration(a.word(1)))
			continue
		}
		if cmd := s.command(a); cmd != nil {
			entry = append(entry, cmd)
		} else {
			flush()
			s.ask(a)
		}
	}
	flush()
	return s.out.String()
}

func (s *scenario) printf(format string, values ...any) { fmt.Fprintf(&s.out, format+"\n", values...) }

// entry applies commands to both copies, and checks beside what they answer that
// the copies stay the same and that a refused command leaves everything as it was.
func (s *scenario) entry(cmds []*statev1.Command) {
	before := body(s, s.m)
	if err := s.twin.Restore(bytes.NewReader(dump(s, s.m))); err != nil {
		s.Fatalf("restore before entry %d: %v", s.index+1, err)
	}
	s.index++
	data := encode(s, s.now, cmds...)
	results, err := s.m.Apply(s.index, data)
	again, errAgain := s.twin.Apply(s.index, data)
	if err != nil || errAgain != nil {
		s.Fatalf("entry %d: %v, %v", s.index, err, errAgain)
	}
	if !reflect.DeepEqual(describeAll(results), describeAll(again)) || hash(s, s.m) != hash(s, s.twin) {
		s.Errorf("entry %d: a restored copy answers %v instead of %v, or ends up in another state", s.index, describeAll(again), describeAll(results))
	}
	if len(cmds) == 1 && results[0].Err != nil && body(s, s.m) != before {
		s.Errorf("entry %d: the refused %T changed the state", s.index, cmds[0].GetKind())
	}
	for _, line := range describeAll(results) {
		s.printf("%s", line)
	}
}

func describeAll(results []Result) []string {
	var lines []string
	for _, r := range results {
		lines = append(lines, describe(r))
	}
	return lines
}

// describe says all that a result says.
func describe(r Result) string {
	if r.Err != nil {
		line := "refused " + strings.TrimPrefix(r.Err.Reason.String(), "REASON_") + ": " + r.Err.Message
		if r.Err.CurrentSeq != 0 {
			line += fmt.Sprintf(" [current_seq %d]", r.Err.CurrentSeq)
		}
		if !r.Err.NotApplied {
			line += " [may have been applied]"
		}
		return line
	}
	switch v := r.Value.(type) {
	case *StepResult:
		line := fmt.Sprintf("%s: %q --[%s]-> %q %s, %s, model %d, index %d", refText(v.Ref), v.From, v.Action, v.State, verdictText(v.Verdict), specText(v.Spec), v.ModelVersion, v.Index)
		for _, flag := range []struct {
			set  bool
			text string
		}{{v.Duplicate, "duplicate"}, {v.Rejected, "rejected"}, {v.OffModel, "off the model"}} {
			if flag.set {
				line += ", " + flag.text
			}
		}
		return line + judgementText(v.Judgement) + violationText(v.RunViolation)
	case *DeleteResult:
		line := fmt.Sprintf("deleted=%t incarnation %d, index %d", v.Deleted, v.Incarnation, v.Index)
		if v.Duplicate {
			line += ", duplicate"
		}
		return line
	case *VerdictResult:
		return fmt.Sprintf("verdict on %s: first=%t%s", refText(v.Ref), v.First, judgementText(v.Judgement))
	case *ModeResult:
		line := fmt.Sprintf("changed=%t", v.Changed)
		for _, ref := range v.Settled {
			line += ", settled " + refText(ref)
		}
		return line
	case *TimeoutResult:
		return fmt.Sprintf("timeout of %s: fired=%t", refText(v.Ref), v.Fired)
	case *PruneResult:
		return fmt.Sprintf("prune of %s: pruned=%t", refText(v.Ref), v.Pruned)
	case *CatalogResult:
		return fmt.Sprintf("version %d, changed=%t, added %d, index %d", v.Version, v.Changed, v.Added, v.Index)
	case nil:
		return "done"
	default:
		return fmt.Sprintf("%T?", v)
	}
}

func refText(r StepRef) string { return fmt.Sprintf("%s#%d/%d", r.ID, r.Incarnation, r.Seq) }

func specText(k SpecKey) string { return fmt.Sprintf("%s v%d", k.Name, k.Version) }

func verdictText(v typesv1.Verdict) string {
	return strings.ToLower(strings.TrimPrefix(v.String(), "VERDICT_"))
}

func modeText(m typesv1.ModelMode) string {
	return strings.ToLower(strings.TrimPrefix(m.String(), "MODEL_MODE_"))
}

func judgementText(j *typesv1.Judgement) string {
	if j == nil {
		return ""
	}
	text := fmt.Sprintf(" (judged by model %d, pending %d", j.GetModelVersion(), j.GetPendingVersion())
	if w := j.GetWithPending(); w != 0 {
		text += ", with pending " + verdictText(w)
	}
	return text + ")"
}

func violationText(v *typesv1.RunViolation) string {
	if v == nil {
		return ""
	}
	kind := strings.ToLower(strings.TrimPrefix(v.GetKind().String(), "RUN_VIOLATION_KIND_"))
	return fmt.Sprintf(" [run %s at %d, found at %d: %s]", kind, v.GetSeq(), v.GetFoundSeq(), v.GetExplanation())
}

// args are the words of a line: a name, what it is about, and key=value pairs.
type args struct {
	s     *scenario
	at    string
	words []string
}

func (a args) word(i int) string {
	if i >= len(a.words) {
		a.s.Fatalf("%s: a word is missing", a.at)
	}
	return a.words[i]
}

func (a args) value(key string) string {
	for _, w := range a.words {
		if v, found := strings.CutPrefix(w, key+"="); found {
			return v
		}
	}
	return ""
}

func (a args) number(key string) uint64 {
	v := a.value(key)
	if v == "" {
		return 0
	}
	return a.parse(v)
}

func (a args) parse(v string) uint64 {
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		a.s.Fatalf("%s: %v", a.at, err)
	}
	return n
}

func (a args) duration(v string) time.Duration {
	d, err := time.ParseDuration(v)
	if err != nil {
		a.s.Fatalf("%s: %v", a.at, err)
	}
	return d
}

// id is the request id: as it stands, or `v7:1h#2` for a UUIDv7 of that time.
func (a args) id() string {
	v, found := strings.CutPrefix(a.value("id"), "v7:")
	if !found {
		return v
	}
	at, number, _ := strings.Cut(v, "#")
	n := uint64(0)
	if number != "" {
		n = a.parse(number)
	}
	return requestID(base.Add(a.duration(at)), int(n))
}

func (a args) spec(i int) SpecKey {
	name, version, found := strings.Cut(a.word(i), ":")
	k := SpecKey{Namespace: "default", Name: name, Version: 1}
	if found {
		k.Version = a.parse(version)
	}
	return k
}

func (a args) key(i int) Key {
	namespace, id, found := strings.Cut(a.word(i), ":")
	if !found {
		return Key{Namespace: "default", ID: namespace}
	}
	return Key{Namespace: namespace, ID: id}
}

func (a args) mode(v string) typesv1.ModelMode {
	return typesv1.ModelMode(typesv1.ModelMode_value["MODEL_MODE_"+strings.ToUpper(v)])
}

// transitions reads t=from/action/to,from/action/to.
func (a args) transitions(key string) []*typesv1.Transition {
	var list []*typesv1.Transition
	for _, part := range strings.Split(a.value(key), ",") {
		if f := strings.Split(part, "/"); len(f) == 3 {
			list = append(list, &typesv1.Transition{From: f[0], Action: f[1], To: f[2]})
		} else if part != "" {
			a.s.Fatalf("%s: %q is no transition", a.at, part)
		}
	}
	return list
}

// definition makes a specification of its options.
func (a args) definition(name string) *typesv1.Specification {
	d := &typesv1.Specification{Name: name, InitialState: a.value("initial"), Transitions: a.transitions("def"), HistoryLimit: uint32(a.number("history"))}
	if a.value("missing") == "reject" {
		d.OnMissingModel = typesv1.OnMissingModel_ON_MISSING_MODEL_REJECT
	}
	switch a.value("policy") {
	case "accept":
		d.ErrorPolicy = &typesv1.ErrorPolicy{DeviationNotEquivalent: typesv1.ErrorAction_ERROR_ACTION_ACCEPT}
	case "reject":
		d.ErrorPolicy = &typesv1.ErrorPolicy{DeviationStillEquivalent: typesv1.ErrorAction_ERROR_ACTION_REJECT}
	}
	a.deadlines(d)
	return d
}
