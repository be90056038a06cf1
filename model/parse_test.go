package model

import (
	"strings"
	"testing"
)

func TestParseTransition(t *testing.T) {
	for text, want := range map[string]Transition{
		"a --[go]-> b":                             {From: "a", Action: "go", To: "b"},
		"  a --[go]-> b\n":                         {From: "a", Action: "go", To: "b"},
		"a b --[go on]-> c d":                      {From: "a b", Action: "go on", To: "c d"},
		"a --[__internal__]-> a":                   {From: "a", Action: "__internal__", To: "a"},
		"nil --[__initialisation__]-> b":           Init("b"),
		"nil --[go]-> nil":                         {From: "nil", Action: "go", To: "nil"},
		"état --[payé]-> fini":                     {From: "état", Action: "payé", To: "fini"},
		"{\"a\":1} --[x->y]-> {\"a\":[2,\"]->\"]}": {From: `{"a":1}`, Action: "x->y", To: `{"a":[2,"]->"]}`},
	} {
		got, err := ParseTransition(text)
		if err != nil || got != want {
			t.Errorf("%q is %v (%v), want %v", text, got, err, want)
		}
		if err == nil && got.String() != strings.TrimSpace(text) {
			t.Errorf("%q is written as %q", text, got.String())
		}
	}
	for text, want := range map[string]string{
		"":                                       "is not of the form",
		"a -> b":                                 "is not of the form",
		"a --[go]->b":                            "is not of the form",
		"--[go]-> b":                             "is not of the form",
		"a --[]-> b":                             "is not of the form",
		"a --[x]-> b --[y]-> c":                  "more than one way",
		"a --[__initialisation__]-> b":           "reserved",
		"__internal__ --[go]-> b":                "reserved",
		"a --[go]-> " + strings.Repeat("b", 257): "limit",
	} {
		if got, err := ParseTransition(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %v, the error %v; want one with %q", text, got, err, want)
		}
	}
}
