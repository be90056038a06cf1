package main

import (
	"context"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/transport"
)

func defaultSettings() *spexv1.ClusterSettings {
	d := transport.Settings{}.WithDefaults()
	return &spexv1.ClusterSettings{
		ReportRetention: d.ReportRetention, RequestWindow: durationpb.New(d.RequestWindow), Tombstones: d.Tombstones, SpecVersions: d.SpecVersions,
	}
}

func (f *fakeCluster) settingsLocked() *spexv1.ClusterSettings {
	if f.settings == nil {
		f.settings = defaultSettings()
	}
	return f.settings
}

func (f *fakeCluster) GetSettings(context.Context, *spexv1.GetSettingsRequest) (*spexv1.GetSettingsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &spexv1.GetSettingsResponse{Settings: proto.CloneOf(f.settingsLocked()), Defaults: defaultSettings()}, nil
}

func (f *fakeCluster) ChangeSettings(_ context.Context, req *spexv1.ChangeSettingsRequest) (*spexv1.ChangeSettingsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, def := f.settingsLocked(), defaultSettings()
	before := proto.CloneOf(now)
	take := func(to *uint64, from *uint64, def uint64) {
		if from != nil {
			if *to = *from; *from == 0 {
				*to = def
			}
		}
	}
	take(&now.ReportRetention, req.ReportRetention, def.ReportRetention)
	take(&now.Tombstones, req.Tombstones, def.Tombstones)
	take(&now.SpecVersions, req.SpecVersions, def.SpecVersions)
	if req.RequestWindow != nil {
		if now.RequestWindow = req.RequestWindow; req.RequestWindow.AsDuration() == 0 {
			now.RequestWindow = def.RequestWindow
		}
	}
	return &spexv1.ChangeSettingsResponse{Settings: proto.CloneOf(now), Changed: !proto.Equal(before, now)}, nil
}
