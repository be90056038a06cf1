package cluster

import (
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/memberlist"
	"pgregory.net/rapid"
)

// TestMetaFits (O12): the longest of everything fits into memberlist's 512 bytes.
func TestMetaFits(t *testing.T) {
	host := strings.Repeat("h", 63) + "." + strings.Repeat("o", 63) + "." + strings.Repeat("s", 63) + "." + strings.Repeat("t", 61)
	if len(host) != 253 {
		t.Fatalf("a host name of %d bytes", len(host))
	}
	longest := Member{
		ID:        strings.Repeat("n", MaxNodeNameBytes) + "-abcdefgh",
		ClusterID: clusterX, Version: "v123.456.789-20260823111213-0123456789ab+dirty", FeatureLevel: 1<<32 - 1,
	}
	for name, c := range map[string]struct {
		client, peer string
		fits         bool
	}{
		"one host":          {host + ":65535", host + ":65534", true},
		"two hosts of 160":  {host[:160] + ":65535", host[1:161] + ":65534", true},
		"two longest hosts": {host + ":65535", host[1:] + "x:65534", false},
		"ipv6":              {"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65535", true},
	} {
		m := longest
		m.ClientAddress, m.PeerAddress = c.client, c.peer
		data, err := encodeMeta(m, true)
		if (err == nil) != c.fits {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && len(data) > memberlist.MetaMaxSize {
			t.Errorf("%s: %d bytes", name, len(data))
		}
		t.Logf("%s: %d bytes", name, len(data))
	}
}

func TestMetaRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringN(0, 20, 60)
		address := rapid.OneOf(rapid.Just(""), rapid.SampledFrom([]string{"a:1", "a:2", "b:1", "[::1]:5", "::1:5", "a:", "x"}), text)
		m := Member{
			ID:            rapid.StringN(1, 10, 40).Draw(rt, "id"),
			ClusterID:     rapid.SampledFrom([]string{"", clusterX, strings.ToUpper(clusterX), "X", "{" + clusterX + "}"}).Draw(rt, "cluster"),
			Version:       text.Draw(rt, "version"),
			FeatureLevel:  rapid.Uint32().Draw(rt, "level"),
			ClientAddress: address.Draw(rt, "client"),
			PeerAddress:   address.Draw(rt, "peer"),
		}
		leaving := rapid.Bool().Draw(rt, "leaving")
		data, err := encodeMeta(m, leaving)
		if err != nil {
			rt.Fatal(err)
		}
		got, gotLeaving, err := decodeMeta(data)
		if err != nil || got != m || gotLeaving != leaving {
			rt.Fatalf("%+v came back as %+v, %v", m, got, err)
		}
		// A newer release may append fields.
		if got, _, err := decodeMeta(append(data, 1, 2, 3)); err != nil || got != m {
			rt.Fatalf("with more behind it: %+v, %v", got, err)
		}
		for cut := range data {
			if _, _, err := decodeMeta(data[:cut]); err == nil {
				rt.Fatalf("cut to %d bytes it still decodes", cut)
			}
		}
	})
}

func FuzzDecodeMeta(f *testing.F) {
	good, err := encodeMeta(gossipMember("n1-abcdefgh"), false)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{metaVersion, 0xff, 0x80, 0x80})
	f.Add([]byte{2, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, leaving, err := decodeMeta(data)
		if err != nil {
			return
		}
		again, err := encodeMeta(m, leaving)
		if errors.Is(err, errMetaTooLong) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, gotLeaving, err := decodeMeta(again); err != nil || got != m || gotLeaving != leaving {
			t.Fatalf("%+v came back as %+v, %v", m, got, err)
		}
	})
}
