package fsm

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

func settingsCommand(c *statev1.ChangeSettings) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_ChangeSettings{ChangeSettings: c}}
}

func retentionCommand(s Settings) *statev1.Command {
	return &statev1.Command{Kind: &statev1.Command_SetRetention{SetRetention: s.Retention()}}
}

func TestSettingsOfTheCatalog(t *testing.T) {
	l, c := newFormed(t, 1)
	if got := c.Settings(); got != (Settings{}) || got.WithDefaults() != (Settings{DefaultReportRetention, DedupeWindow, DefaultTombstones, DefaultSpecVersions}) {
		t.Errorf("a new cluster has the settings %+v", got)
	}
	number, hour, zero := uint64(500), int64(time.Hour), uint64(0)
	if r := l.do(settingsCommand(&statev1.ChangeSettings{ReportRetention: &number, RequestWindowNanos: &hour})).(*CatalogResult); !r.Changed {
		t.Error("nothing changed")
	}
	if r := l.do(settingsCommand(&statev1.ChangeSettings{ReportRetention: &number})).(*CatalogResult); r.Changed {
		t.Error("the same setting is a change")
	}
	l.do(settingsCommand(&statev1.ChangeSettings{ReportRetention: &zero, SpecVersions: &number}))
	want := Settings{RequestWindow: time.Hour, SpecVersions: 500}
	for _, bad := range []*statev1.ChangeSettings{
		{ReportRetention: ptr(uint64(MinReportRetention - 1))}, {ReportRetention: ptr(uint64(MaxReportRetention + 1))},
		{RequestWindowNanos: ptr(int64(MinRequestWindow) - 1)}, {RequestWindowNanos: ptr(int64(MaxRequestWindow) + 1)}, {RequestWindowNanos: ptr(int64(-1))},
		{Tombstones: ptr(uint64(MinTombstones - 1))}, {Tombstones: ptr(uint64(MaxTombstones + 1))},
		{SpecVersions: ptr(uint64(MaxSpecVersions + 1))},
	} {
		l.refused(typesv1.Reason_REASON_INVALID_ARGUMENT, settingsCommand(bad))
	}
	restored := NewCatalog()
	if err := restored.Restore(bytes.NewReader(dump(t, c))); err != nil {
		t.Fatal(err)
	}
	if c.Settings() != want || restored.Settings() != want || restored.Cluster().Settings != want || hash(t, restored) != hash(t, c) {
		t.Errorf("settings %+v, restored %+v, want %+v", c.Settings(), restored.Settings(), want)
	}
}

func ptr[T any](v T) *T { return &v }

// A shorter window forgets sooner; a longer one does not bring back what is
// forgotten, so that requests from then are refused and not applied again.
func TestTheRequestWindowShrinksAndGrows(t *testing.T) {
	l, s := newOrders(t, learning)
	began := l.now
	id := func(n int) string { return requestID(l.now, n) }
	first := id(1)
	l.do(initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1, RequestId: first}))
	l.do(deleteCommand(key1, &statev1.DeleteInstance{RequestId: id(2)}))
	again := initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1, RequestId: first})

	l.now = began.Add(2 * time.Hour)
	if r := l.do(again).(*StepResult); !r.Duplicate {
		t.Fatal("a late retry after a delete began the instance again")
	}
	l.do(retentionCommand(Settings{RequestWindow: time.Hour}))
	l.entry()
	if n := s.records.Len(); n != 0 {
		t.Fatalf("%d tombstones are left after the window became shorter", n)
	}
	l.do(retentionCommand(Settings{RequestWindow: 12 * time.Hour}))
	if !s.Follows(Settings{RequestWindow: 12 * time.Hour, SpecVersions: 3}) || s.Follows(Settings{}) {
		t.Errorf("the shard follows %+v", s.Retention())
	}
	l.refused(typesv1.Reason_REASON_OUTCOME_UNKNOWN, again)
	// What was made after the last that was forgotten is new.
	l.do(initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1, RequestId: requestID(began.Add(time.Hour+time.Second), 3)}))
}

func TestTooManyTombstonesGoEarly(t *testing.T) {
	l, s := newOrders(t, learning)
	l.do(retentionCommand(Settings{Tombstones: MinTombstones}))
	const many = MinTombstones + 500
	var ids []string
	for i := range many {
		ids = append(ids, requestID(l.now, i))
		l.do(deleteCommand(Key{"default", numbered("k", i)}, &statev1.DeleteInstance{RequestId: ids[i]}))
		l.now = l.now.Add(10 * time.Millisecond)
	}
	if n := s.records.Len(); n != many {
		t.Fatalf("%d tombstones of %d: the young ones have to stay", n, many)
	}
	l.now = l.now.Add(2 * MinRequestWindow)
	for range 20 {
		l.entry()
	}
	if n := s.records.Len(); n != MinTombstones {
		t.Fatalf("%d tombstones are left, want %d", n, MinTombstones)
	}
	// The oldest went, and their requests are refused; the others are remembered.
	l.refused(typesv1.Reason_REASON_OUTCOME_UNKNOWN, deleteCommand(Key{"default", "k0"}, &statev1.DeleteInstance{RequestId: ids[0]}))
	if r := l.do(deleteCommand(Key{"default", numbered("k", many-1)}, &statev1.DeleteInstance{RequestId: ids[many-1]})).(*DeleteResult); !r.Duplicate {
		t.Error("a remembered request was applied again")
	}
}

// A request whose id does not tell its age is remembered for the whole window,
// however many tombstones there are.
func TestManyTombstonesDoNotBringBackADeletedInstance(t *testing.T) {
	l, s := newOrders(t, learning)
	l.do(retentionCommand(Settings{Tombstones: MinTombstones}))
	began := l.now
	again := initCommand(key1, &statev1.InitInstance{Spec: "order", SpecVersion: 1, RequestId: "order-17-init"})
	l.do(again)
	l.do(deleteCommand(key1, &statev1.DeleteInstance{RequestId: requestID(l.now, 0)}))
	for i := range MinTombstones + 10 {
		l.do(deleteCommand(Key{"default", numbered("k", i)}, &statev1.DeleteInstance{RequestId: requestID(l.now, i+1)}))
	}
	for _, at := range []time.Duration{MinRequestWindow + time.Minute, DedupeWindow - time.Second} {
		l.now = began.Add(at)
		for range 5 {
			l.entry()
		}
		if r := l.do(again).(*StepResult); !r.Duplicate {
			t.Fatalf("the deleted instance was begun again after %s", at)
		}
	}
	if n := s.records.Len(); n != MinTombstones {
		t.Fatalf("%d tombstones are left, want %d", n, MinTombstones)
	}
	l.now = began.Add(DedupeWindow)
	for range 20 {
		l.entry()
	}
	if n := s.records.Len(); n != 0 {
		t.Fatalf("%d tombstones are left after the window", n)
	}
}

// However the settings change, and whenever a replica is restored: no request is
// applied twice. One whose id carries no time may be once the window is over.
func TestNoRequestIsAppliedTwice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l, s := newOrders(t, learning)
		type sent struct {
			cmd *statev1.Command
			at  time.Time // when it was applied, if its id does not say so
		}
		var all []sent
		outlive := func() { // what carries no time, and is as old as requests are remembered
			all = slices.DeleteFunc(all, func(c sent) bool {
				return !c.at.IsZero() && l.now.Sub(c.at) >= s.retention.requestWindow()
			})
		}
		windows := []time.Duration{0, MinRequestWindow, 10 * time.Minute, time.Hour, 48 * time.Hour}
		next := 0
		rt.Repeat(map[string]func(*rapid.T){
			"new": func(rt *rapid.T) {
				next++
				skew := time.Duration(rapid.IntRange(-20_000, 20_000).Draw(rt, "skew")) * time.Millisecond
				key := Key{"default", numbered("k", rapid.IntRange(0, 3).Draw(rt, "key"))}
				id := requestID(l.now.Add(skew), next)
				var c sent
				if rapid.IntRange(0, 2).Draw(rt, "untimed") == 0 {
					id, c.at, skew = numbered("request", next), l.now, 0
				}
				c.cmd = deleteCommand(key, &statev1.DeleteInstance{RequestId: id})
				if rapid.Bool().Draw(rt, "init") {
					c.cmd = initCommand(key, &statev1.InitInstance{Spec: "order", SpecVersion: 1, RequestId: id})
				}
				if res := l.entry(c.cmd)[0]; res.Err == nil {
					all = append(all, c)
				} else if ReasonOf(res.Err) == typesv1.Reason_REASON_OUTCOME_UNKNOWN && skew > -time.Second && s.retention.forgotten < l.now.UnixNano()-int64(MinRequestWindow) {
					rt.Fatalf("a request of now is refused: %v", res.Err)
				}
			},
			"again": func(rt *rapid.T) {
				if len(all) == 0 {
					rt.Skip()
				}
				c := all[rapid.IntRange(0, len(all)-1).Draw(rt, "request")]
				switch res := l.entry(c.cmd)[0]; v := res.Value.(type) {
				case *StepResult:
					if !v.Duplicate {
						rt.Fatalf("an initialisation was applied twice: %v", c.cmd)
					}
				case *DeleteResult:
					if !v.Duplicate {
						rt.Fatalf("a deletion was applied twice: %v", c.cmd)
					}
				default:
					if ReasonOf(res.Err) != typesv1.Reason_REASON_OUTCOME_UNKNOWN {
						rt.Fatalf("%v: %v", c.cmd, res.Err)
					}
				}
			},
			"time": func(rt *rapid.T) {
				l.now = l.now.Add(time.Duration(rapid.IntRange(1, 7200).Draw(rt, "seconds")) * time.Second)
				outlive()
				l.entry()
			},
			"settings": func(rt *rapid.T) {
				l.do(retentionCommand(Settings{RequestWindow: rapid.SampledFrom(windows).Draw(rt, "window")}))
				outlive()
			},
			"crowd": func(*rapid.T) { // as if there were too many
				s.retention.tombstones = 1
				l.entry()
				s.retention.tombstones = 0
			},
			"restore": func(*rapid.T) {
				again := NewShard()
				if err := again.Restore(bytes.NewReader(dump(t, s))); err != nil {
					t.Fatal(err)
				}
				if hash(t, again) != hash(t, s) {
					rt.Fatal("the restored state has another hash")
				}
				s, l.m = again, again
			},
		})
	})
}
