package api

import (
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spexio/spex/fsm"
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// ClusterSettings makes the message of settings, with the defaults in place of
// what nobody has set.
func ClusterSettings(s fsm.Settings) *spexv1.ClusterSettings {
	s = s.WithDefaults()
	return &spexv1.ClusterSettings{
		ReportRetention: s.ReportRetention, RequestWindow: durationpb.New(s.RequestWindow), Tombstones: s.Tombstones, SpecVersions: s.SpecVersions,
	}
}

// CheckSettings checks a request for a change of settings: it must change
// something, and everything must be within its bounds.
func CheckSettings(req *spexv1.ChangeSettingsRequest) error {
	if req.ReportRetention == nil && req.RequestWindow == nil && req.Tombstones == nil && req.SpecVersions == nil {
		return fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "no setting is given: name one, such as request_window")
	}
	if req.RequestWindow != nil {
		if err := req.RequestWindow.CheckValid(); err != nil {
			return fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT, "request_window: %v", err)
		}
	}
	s := fsm.Settings{
		ReportRetention: req.GetReportRetention(), RequestWindow: req.GetRequestWindow().AsDuration(), Tombstones: req.GetTombstones(), SpecVersions: req.GetSpecVersions(),
	}
	if err := s.Check(); err != nil {
		return err
	}
	return nil
}

// ChangeSettings makes the command of a request that was checked.
func ChangeSettings(req *spexv1.ChangeSettingsRequest) *statev1.ChangeSettings {
	c := &statev1.ChangeSettings{ReportRetention: req.ReportRetention, Tombstones: req.Tombstones, SpecVersions: req.SpecVersions}
	if req.RequestWindow != nil {
		nanos := int64(req.RequestWindow.AsDuration())
		c.RequestWindowNanos = &nanos
	}
	return c
}
