package eventlog

import (
	"bytes"
	"errors"
	"testing"

	"github.com/spexio/spex/spec"
)

// checkLog reads a log and holds what comes out to what Case and Error promise.
func checkLog(t *testing.T, data []byte, name string, opts Options) {
	l, err := New(bytes.NewReader(data), name, opts)
	if err != nil {
		checkError(t, err)
		return
	}
	seen := make(map[string]bool)
	for c, err := range l.Cases() {
		if err != nil {
			checkError(t, err)
			continue
		}
		if seen[c.ID] {
			t.Fatalf("case %q twice", c.ID)
		}
		seen[c.ID] = true
		if err := spec.CheckIdentifier("case", c.ID); err != nil {
			t.Fatal(err)
		}
		for i, e := range c.Events {
			if err := errors.Join(spec.CheckAction("activity", e.Activity), spec.CheckState("state", e.State)); err != nil {
				t.Fatal(err)
			}
			if i > 0 && e.Time.Before(c.Events[i-1].Time) {
				t.Fatalf("events out of order in case %q", c.ID)
			}
			if y := e.Time.Year(); y < 1 || y > 9999 || e.Line < 1 {
				t.Fatalf("event %+v", e)
			}
		}
	}
}

// checkError holds that bad input is reported with a type of this package.
func checkError(t *testing.T, err error) {
	t.Helper()
	var e *Error
	var m *MissingColumnError
	if !errors.As(err, &e) && !errors.As(err, &m) {
		t.Fatalf("%T: %v", err, err)
	}
}

func FuzzCSV(f *testing.F) {
	f.Add([]byte("c,a,t\n1,A,2024-01-01\n2,B,1318333540\n1,\"x\ny\",2024-01-01\n"))
	f.Add([]byte("\ufeffc;a;t\r\n1;A;11.10.2011\r\n"))
	f.Add([]byte("c,a,t\n1,\"A"))
	f.Add([]byte("\xff\xfec"))
	f.Add([]byte("\x1f\x8b\x08"))
	f.Add([]byte(" \nc,a,t\n1,A"))
	f.Fuzz(func(t *testing.T, data []byte) {
		checkLog(t, data, "log.csv", Options{Format: CSV, Columns: short})
		checkLog(t, data, "log.csv", Options{Format: CSV, Columns: Columns{"c", "a", "t", "c"}, SkipCases: 1, MaxCases: 1})
	})
}

func FuzzXES(f *testing.F) {
	f.Add([]byte(xes(trace("1", "A 01", "B 02") + trace("2"))))
	f.Add([]byte(`<log><trace><string key="concept:name" value="1"><x/></string><event/></trace></log>`))
	f.Add([]byte(`<?xml version="1.0" encoding="latin1"?><log/>`))
	f.Add([]byte(`<!DOCTYPE log [<!ENTITY a "b">]><log>&a;</log>`))
	f.Add([]byte("<log><trace>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		checkLog(t, data, "log.xes", Options{Format: XES})
		checkLog(t, data, "log.xes", Options{Format: XES, SkipCases: 1, MaxCases: 1, Columns: Columns{State: "concept:name"}})
	})
}

func FuzzTimestamp(f *testing.F) {
	for _, s := range []string{"2011-10-11 13:45:40.276000+02:00", "1318333540.5", "20111011", "11-Oct-2011"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var fresh timeParser
		want, err := fresh.parse(text)
		// The layout that fitted last must not change what a text means.
		for last := range layouts {
			p := timeParser{last: last}
			if got, again := p.parse(text); (again == nil) != (err == nil) || !got.Equal(want) {
				t.Fatalf("%q: %v (%v), but after %q %v (%v)", text, want, err, layouts[last], got, again)
			}
		}
	})
}
