package cluster

import (
	"encoding/base64"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

func TestCursorRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCursor(rapid.String().Draw(t, "cluster"), uint32(rapid.IntRange(1, 64).Draw(t, "shards")))
		id := rapid.StringN(0, 20, -1).Draw(t, "id")
		c.cluster = clusterTag(id)
		c.since = rapid.Int64().Draw(t, "since")
		for i := range c.at {
			c.at[i] = rapid.Uint64().Draw(t, "at")
		}
		more := rapid.IntRange(0, 5).Draw(t, "more shards")
		got, err := parseCursor(c.String(), id, uint32(len(c.at)-1+more))
		if err != nil {
			t.Fatal(err)
		}
		if got.since != c.since || !slices.Equal(got.at[:len(c.at)], c.at) {
			t.Fatalf("%+v came back as %+v", c, got)
		}
		for _, at := range got.at[len(c.at):] {
			if at != 0 {
				t.Fatalf("a shard that the cursor does not know begins at %d, want the oldest report", at)
			}
		}
	})
}

func TestCursorIsRefused(t *testing.T) {
	c := newCursor("mine", 3)
	c.at[1] = math.MaxUint64
	good := c.String()
	other := []byte(good)
	other[len(other)/2] ^= 1
	newer, _ := base64.RawURLEncoding.DecodeString(good)
	newer[0]++
	for name, test := range map[string]struct {
		token, cluster string
		shards         uint32
		want           string
	}{
		"another cluster": {good, "theirs", 3, "another cluster"},
		"too many shards": {good, "mine", 2, "more shards"},
		"a flipped bit":   {string(other), "mine", 3, "the cursor"},
		"cut off":         {good[:len(good)/4*4-4], "mine", 3, "damaged"},
		"half a byte off": {good[:len(good)-1], "mine", 3, "the cursor"},
		"a newer version": {base64.RawURLEncoding.EncodeToString(newer), "mine", 3, "version"},
		"nonsense":        {"!!!", "mine", 3, "not one that a watch gave out"},
		"short":           {"AQ", "mine", 3, "not one that a watch gave out"},
	} {
		_, err := parseCursor(test.token, test.cluster, test.shards)
		if fsm.ReasonOf(err) != typesv1.Reason_REASON_INVALID_ARGUMENT || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an invalid argument with %q", name, err, test.want)
		}
	}
	if _, err := parseCursor(good, "mine", 3); err != nil {
		t.Error(err)
	}
}

// Whatever a client sends either is refused with a reason or is a cursor that
// the same bytes come from.
func FuzzCursor(f *testing.F) {
	c := newCursor("mine", 4)
	c.since, c.at = -1, []uint64{0, 1, 300, math.MaxUint64}
	f.Add(c.String())
	f.Add("")
	f.Add("AQAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := parseCursor(token, "mine", 4)
		if err != nil {
			if fsm.ReasonOf(err) != typesv1.Reason_REASON_INVALID_ARGUMENT {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		}
		again, err := parseCursor(c.String(), "mine", 4)
		if err != nil || again.since != c.since || !slices.Equal(again.at, c.at) {
			t.Fatalf("%q: %+v came back as %+v, %v", token, c, again, err)
		}
	})
}
