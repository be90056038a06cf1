//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// TestRecoverFromOneDisk loses two of three disks. The third has everything that
// was acknowledged here, since all were in step, and serves alone after spex recover.
func TestRecoverFromOneDisk(t *testing.T) {
	s := startServers(t, 3, "--shards", "4")
	cl := s.dial()
	if _, err := cl.ApplySpecification(context.Background(), &typesv1.Specification{Name: "order", InitialState: "left",
		Transitions: []*typesv1.Transition{{From: "left", Action: "ping", To: "right"}}}); err != nil {
		t.Fatal(err)
	}
	const instances = 50
	for i := range instances {
		if _, err := cl.Init(context.Background(), "order", fmt.Sprintf("order-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	s.awaitAgreement(60 * time.Second)
	for _, nd := range s.nodes {
		s.kill(nd)
	}
	for _, nd := range s.nodes[1:] {
		if err := os.RemoveAll(nd.dir); err != nil {
			t.Fatal(err)
		}
	}
	left := s.nodes[0]
	recover := func(args ...string) result {
		return begin(t, os.Environ(), append([]string{"recover", "--data-dir", left.dir}, args...)...).wait()
	}
	type document struct {
		Done   bool `json:"done"`
		Groups []struct {
			ID        int    `json:"id"`
			LastIndex uint64 `json:"last_index"`
		} `json:"groups"`
	}
	for range 2 {
		r := recover("--all", "-o", "json")
		if dry := decode[document](t, r.stdout); r.code != 0 || dry.Done || len(dry.Groups) != 5 || dry.Groups[0].LastIndex == 0 {
			t.Fatalf("a dry run: %d, %s%s", r.code, r.stdout, r.stderr)
		}
	}
	if r := recover("--all", "--accept-data-loss"); r.code != 0 || !strings.Contains(r.stdout, "only voter") {
		t.Fatalf("recover: %d, %s%s", r.code, r.stdout, r.stderr)
	}
	if r := recover("--group", "1", "--accept-data-loss"); r.code == 0 || !strings.Contains(r.stderr, "nothing to recover") {
		t.Fatalf("a second time: %d, %s%s", r.code, r.stdout, r.stderr)
	}
	s.start(left)
	s.awaitReady(left, 60*time.Second)
	alone, err := client.Dial(context.Background(), client.Options{Addresses: []string{left.client}, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer alone.Close()
	for i := range instances {
		id := fmt.Sprintf("order-%d", i)
		if _, err := alone.Get(context.Background(), id); err != nil {
			t.Fatalf("%s is lost: %v", id, err)
		}
		if _, err := alone.Transition(context.Background(), id, "ping", "right", client.WithExpectedSeq(2)); err != nil {
			t.Fatalf("a step of %s: %v", id, err)
		}
	}
}
