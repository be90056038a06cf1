package main

import (
	"github.com/spexio/spex/internal/eventlog"
)

// open opens the log that the flags describe. The caller closes it.
func (f *logFlags) open(path string) (*eventlog.Log, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	delimiter, err := f.delimiterRune()
	if err != nil {
		return nil, err
	}
	format := eventlog.Format(f.format)
	switch format {
	case "auto":
		format = eventlog.Auto
	case eventlog.Auto, eventlog.CSV, eventlog.XES:
	default:
		return nil, usagef("--format %q: must be auto, csv or xes", f.format)
	}
	return eventlog.Open(path, eventlog.Options{
		Format:    format,
		Delimiter: delimiter,
		Columns:   f.columns,
		SkipCases: f.skipCases,
		MaxCases:  f.maxCases,
		Prefix:    f.prefix,
	})
}
