package api

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spexio/spex/fsm"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

func TestCheckSettings(t *testing.T) {
	number := func(n uint64) *uint64 { return &n }
	for _, c := range []struct {
		req  *spexv1.ChangeSettingsRequest
		want string // part of the error, none if empty
	}{
		{&spexv1.ChangeSettingsRequest{}, "no setting"},
		{&spexv1.ChangeSettingsRequest{ReportRetention: number(0)}, ""},
		{&spexv1.ChangeSettingsRequest{ReportRetention: number(fsm.MinReportRetention)}, ""},
		{&spexv1.ChangeSettingsRequest{ReportRetention: number(fsm.MinReportRetention - 1)}, "report_retention is 99: it must be 100 to 100000"},
		{&spexv1.ChangeSettingsRequest{RequestWindow: durationpb.New(0)}, ""},
		{&spexv1.ChangeSettingsRequest{RequestWindow: durationpb.New(time.Second)}, "request_window is 1s"},
		{&spexv1.ChangeSettingsRequest{RequestWindow: &durationpb.Duration{Seconds: 1, Nanos: -1}}, "request_window"},
		{&spexv1.ChangeSettingsRequest{Tombstones: number(fsm.MaxTombstones + 1)}, "tombstones"},
		{&spexv1.ChangeSettingsRequest{SpecVersions: number(fsm.MaxSpecVersions + 1)}, "spec_versions"},
	} {
		err := CheckSettings(c.req)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.req, err, c.want)
		}
	}
	c := ChangeSettings(&spexv1.ChangeSettingsRequest{RequestWindow: durationpb.New(time.Hour), SpecVersions: number(3)})
	if c.GetRequestWindowNanos() != int64(time.Hour) || c.GetSpecVersions() != 3 || c.Tombstones != nil || c.ReportRetention != nil {
		t.Errorf("the command is %v", c)
	}
}
