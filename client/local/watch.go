package local

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// watchPage is how many reports a response brings at most.
const watchPage = 256

// Watch sends the reports on the goroutine of the caller. It reads what is
// applied, which the loop has logged before, and the loop never waits for it.
func (e *engine) Watch(ctx context.Context, req *spexv1.WatchRequest, send func(*spexv1.WatchResponse) error) error {
	if err := api.CheckWatch(req); err != nil {
		return out(err)
	}
	if err := e.open(); err != nil {
		return out(err)
	}
	after, err := e.watchStart(req)
	if err != nil {
		return out(err)
	}
	filter := fsm.ReportFilter{Namespace: req.GetNamespace(), Specs: req.GetSpecs(), Kinds: req.GetKinds()}
	beat := req.GetHeartbeat().AsDuration()
	timer := time.NewTimer(beat)
	defer timer.Stop()
	for resp := (&spexv1.WatchResponse{}); ; {
		resp.Cursor = e.cursor(after)
		if err := send(resp); err != nil {
			return err
		}
		timer.Reset(beat)
		if resp, after, err = e.news(ctx, after, filter, timer.C); err != nil {
			return err
		}
	}
}

// news waits for reports, or for the heartbeat, and says how far it has looked.
func (e *engine) news(ctx context.Context, at position, filter fsm.ReportFilter, beat <-chan time.Time) (*spexv1.WatchResponse, position, error) {
	for {
		if err := e.open(); err != nil {
			return nil, at, out(err)
		}
		if err := ctx.Err(); err != nil {
			return nil, at, err
		}
		changed := e.reported.Changed()
		catalog, shard := e.catalog.Reports(at[0], filter, watchPage), e.shard.Reports(at[shardID], filter, watchPage)
		resp := &spexv1.WatchResponse{}
		e.tellPage(resp, &at, 0, catalog)
		e.tellPage(resp, &at, shardID, shard)
		if len(resp.Reports) > 0 || len(resp.Gaps) > 0 {
			return resp, at, nil
		}
		if catalog.More || shard.More {
			continue
		}
		select {
		case <-changed:
		case <-beat:
			return resp, at, nil
		case <-ctx.Done():
		case <-e.stop:
		case <-e.broken:
			return nil, at, out(e.failed)
		}
	}
}

// position is how far a watch has come: the ids of the last reports of the
// catalog, which is 0, and of the shard that it has taken care of.
type position [shardID + 1]uint64

// watchStart finds where to begin.
func (e *engine) watchStart(req *spexv1.WatchRequest) (position, error) {
	last := position{e.catalog.LastReport(), e.shard.LastReport()}
	if req.GetCursor() == "" {
		if req.GetFrom() == spexv1.WatchRequest_FROM_OLDEST {
			return position{}, nil
		}
		return last, nil
	}
	after, err := e.parseCursor(req.GetCursor())
	if err == nil && (after[shardID] > last[shardID] || after[0] > last[0]) {
		// Reports are on disk before they are shown, so that only an older copy has fewer.
		err = fsm.Errorf(typesv1.Reason_REASON_INVALID_ARGUMENT,
			"the cursor is after report %d, and the newest here is %d: the directory is an older copy; give no cursor, and say where to begin",
			slices.Max(after[:]), slices.Max(last[:]))
	}
	return after, err
}

// tellPage adds to a response what one of the two has reported, each report with
// its cursor, and advances the position.
func (e *engine) tellPage(resp *spexv1.WatchResponse, at *position, shard uint32, page fsm.ReportPage) {
	for _, g := range page.Gaps {
		resp.Gaps = append(resp.Gaps, &spexv1.ReportGap{Shard: shard, AfterId: g.After, ThroughId: g.Through, Kinds: g.Kinds})
	}
	for _, r := range page.Reports {
		m := api.Report(shard, r)
		m.RunViolation = proto.CloneOf(e.shard.RunViolation(fsm.SpecKeyOf(r.GetSpec()), r.GetRunViolation()))
		at[shard] = r.GetId()
		m.Cursor = e.cursor(*at)
		resp.Reports = append(resp.Reports, m)
	}
	at[shard] = page.Through
}

// cursor is where a watch goes on that has taken care of all up to a position: an
// identity, and the ids of two reports. It begins like that of a cluster, so that
// each refuses the other's for what it is.
func (e *engine) cursor(after position) string {
	return api.SealCursor(binary.AppendUvarint(binary.AppendUvarint(e.identity[:], after[shardID]), after[0]))
}

func (e *engine) parseCursor(token string) (position, error) {
	bad := func(what string) (position, error) { return position{}, api.BadCursor(what) }
	body, err := api.OpenCursor(token, len(e.identity)+2)
	if err != nil {
		return position{}, err
	}
	if identity(body[:len(e.identity)]) != e.identity {
		return bad("is from another manager, whose reports are not here")
	}
	body = body[len(e.identity):]
	shard, n := binary.Uvarint(body)
	if n <= 0 {
		return bad("is damaged")
	}
	catalog, m := binary.Uvarint(body[n:])
	if m <= 0 || n+m != len(body) {
		return bad("is damaged")
	}
	return position{catalog, shard}, nil
}
