package fsm

import (
	"time"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

const (
	// MinRequestWindow and MaxRequestWindow bound for how long request ids and
	// tombstones are remembered; DedupeWindow is the default.
	MinRequestWindow, MaxRequestWindow = 5 * time.Minute, 30 * 24 * time.Hour
	// DefaultTombstones is how many tombstones a shard keeps; see Settings.Tombstones.
	DefaultTombstones = 1_000_000
	// MinTombstones and MaxTombstones bound what the cluster may say.
	MinTombstones, MaxTombstones = 1_000, 10_000_000
	// DefaultSpecVersions is how many versions of a specification are kept that
	// nothing refers to, the newest one included.
	DefaultSpecVersions = 20
	// MinSpecVersions and MaxSpecVersions bound what the cluster may say.
	MinSpecVersions, MaxSpecVersions = 1, MaxSpecificationVersions
)

// Settings are what an operator may change while the cluster runs: how much is
// kept of what has been. The zero value of a field stands for its default.
type Settings struct {
	// ReportRetention is how many reports of each class a shard keeps for watches.
	ReportRetention uint64
	// RequestWindow is how long, in log time, request ids and the tombstones of
	// deleted and pruned instances are remembered.
	RequestWindow time.Duration
	// Tombstones is how many tombstones a shard keeps. Those younger than
	// MinRequestWindow, and those that remember a request id without a time, stay
	// however many they are.
	Tombstones uint64
	// SpecVersions is how many versions of a specification are kept, the newest
	// included. Older ones stay for as long as an instance or a tombstone is of them.
	SpecVersions uint64
}

// WithDefaults returns the settings with the defaults in place of zeros.
func (s Settings) WithDefaults() Settings {
	or := func(v *uint64, def uint64) {
		if *v == 0 {
			*v = def
		}
	}
	or(&s.ReportRetention, DefaultReportRetention)
	or(&s.Tombstones, DefaultTombstones)
	or(&s.SpecVersions, DefaultSpecVersions)
	if s.RequestWindow == 0 {
		s.RequestWindow = DedupeWindow
	}
	return s
}

// Check says what of the settings is out of bounds.
func (s Settings) Check() *Error {
	set := s.WithDefaults()
	for _, f := range []struct {
		name       string
		v, lo, hi  uint64
		asDuration bool
	}{
		{"report_retention", set.ReportRetention, MinReportRetention, MaxReportRetention, false},
		{"request_window", uint64(max(set.RequestWindow, 0)), uint64(MinRequestWindow), uint64(MaxRequestWindow), true},
		{"tombstones", set.Tombstones, MinTombstones, MaxTombstones, false},
		{"spec_versions", set.SpecVersions, MinSpecVersions, MaxSpecVersions, false},
	} {
		switch {
		case f.v >= f.lo && f.v <= f.hi:
		case f.asDuration:
			return Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "the setting %s is %s: it must be %s to %s", f.name, set.RequestWindow, MinRequestWindow, MaxRequestWindow)
		default:
			return Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "the setting %s is %d: it must be %d to %d", f.name, f.v, f.lo, f.hi)
		}
	}
	return nil
}

// Proto returns the form of the settings that commands and snapshots carry.
func (s Settings) Proto() *statev1.Settings {
	return &statev1.Settings{
		ReportRetention: s.ReportRetention, RequestWindowNanos: int64(s.RequestWindow), Tombstones: s.Tombstones, SpecVersions: s.SpecVersions,
	}
}

// SettingsOf is the inverse of Proto.
func SettingsOf(s *statev1.Settings) Settings {
	return Settings{
		ReportRetention: s.GetReportRetention(), RequestWindow: time.Duration(s.GetRequestWindowNanos()),
		Tombstones: s.GetTombstones(), SpecVersions: s.GetSpecVersions(),
	}
}

// Retention returns the command that brings a shard to the settings.
func (s Settings) Retention() *statev1.SetRetention {
	return &statev1.SetRetention{Reports: s.ReportRetention, RequestWindowNanos: int64(s.RequestWindow), Tombstones: s.Tombstones}
}

// applySettings changes the settings that are present.
func (c *Catalog) applySettings(g *statev1.ChangeSettings) Result {
	next := c.settings
	for _, f := range []struct {
		to   *uint64
		from *uint64
	}{{&next.ReportRetention, g.ReportRetention}, {&next.Tombstones, g.Tombstones}, {&next.SpecVersions, g.SpecVersions}} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if g.RequestWindowNanos != nil {
		next.RequestWindow = time.Duration(g.GetRequestWindowNanos())
	}
	if err := next.Check(); err != nil {
		return Result{Err: err}
	}
	changed := next != c.settings
	c.settings = next
	c.reports.retain(next.ReportRetention)
	return c.done(0, changed)
}

// retention is what a shard follows of the cluster's settings, and what it has
// forgotten by them.
type retention struct {
	// window is for how long requests are remembered.
	window time.Duration
	// tombstones is how many are kept; 0 means the default.
	tombstones uint64
	// forgotten is the newest time, in Unix nanoseconds, of requests that were
	// forgotten with their tombstones although the window does not say so: it
	// has grown since, or there were too many.
	forgotten int64
}

func (r *retention) requestWindow() time.Duration {
	if r.window == 0 {
		return DedupeWindow
	}
	return r.window
}

func (r *retention) maxTombstones() int {
	if r.tombstones == 0 {
		return DefaultTombstones
	}
	return int(r.tombstones)
}

// applyRetention takes over the cluster's settings. What a shorter window does not
// cover goes with the next entries; a longer one does not bring back what is
// forgotten, and those requests stay refused.
func (s *Shard) applyRetention(c *statev1.SetRetention) Result {
	set := Settings{ReportRetention: c.GetReports(), RequestWindow: time.Duration(c.GetRequestWindowNanos()), Tombstones: c.GetTombstones()}
	if err := set.Check(); err != nil {
		return Result{Err: err}
	}
	s.retention.forgotten = max(s.retention.forgotten, s.now-int64(s.retention.requestWindow()))
	s.retention.window, s.retention.tombstones = set.RequestWindow, set.Tombstones
	s.reports.retain(set.ReportRetention)
	return Result{}
}

// Retention returns the settings that the shard follows, as it was told them.
func (s *Shard) Retention() Settings {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Settings{ReportRetention: s.reports.retention, RequestWindow: s.retention.window, Tombstones: s.retention.tombstones}
}

// Follows reports whether the shard works by the cluster's settings.
func (s *Shard) Follows(cluster Settings) bool {
	cluster.SpecVersions = 0
	return s.Retention() == cluster
}
