package client

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// SettingsChange names the settings of the cluster to change: those that are not
// nil. A zero brings one back to its default. See spexv1.ClusterSettings for what
// they mean.
type SettingsChange struct {
	ReportRetention *uint64
	RequestWindow   *time.Duration
	Tombstones      *uint64
	SpecVersions    *uint64
}

// Settings tells how much the cluster keeps of what has been, and what would be
// kept by default.
func (c *Client) Settings(ctx context.Context) (*spexv1.GetSettingsResponse, error) {
	return unary(ctx, c, call{name: "GetSettings"}, &spexv1.GetSettingsRequest{},
		func(ep *endpoint) rpc[spexv1.GetSettingsRequest, spexv1.GetSettingsResponse] {
			return spexv1.NewClusterServiceClient(ep.conn).GetSettings
		})
}

// ChangeSettings changes settings while the cluster runs. It returns once the
// catalog has them; the shards follow within about a second. After an error that
// does not say NotApplied it may be called again.
func (c *Client) ChangeSettings(ctx context.Context, change SettingsChange) (*spexv1.ChangeSettingsResponse, error) {
	req := &spexv1.ChangeSettingsRequest{ReportRetention: change.ReportRetention, Tombstones: change.Tombstones, SpecVersions: change.SpecVersions}
	if change.RequestWindow != nil {
		req.RequestWindow = durationpb.New(*change.RequestWindow)
	}
	return unary(ctx, c, call{name: "ChangeSettings", write: true}, req,
		func(ep *endpoint) rpc[spexv1.ChangeSettingsRequest, spexv1.ChangeSettingsResponse] {
			return spexv1.NewClusterServiceClient(ep.conn).ChangeSettings
		})
}
