package cluster

import (
	"context"
	"net"
	"testing"
	"time"
)

// A node that stops while it contacts addresses where nothing answers waits for one
// attempt at the most, not for all of them.
func TestGossipStopsDuringHangingContacts(t *testing.T) {
	var silent []string
	accepted := make(chan struct{}, 100)
	for range 6 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		silent = append(silent, l.Addr().String())
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close() // says nothing until the test ends
				accepted <- struct{}{}
			}
		}()
	}
	g := startGossip(t, "a", clusterX, func(c *GossipConfig) { c.Seeds = silent })
	<-accepted
	ctx, cancel := context.WithTimeout(t.Context(), 3*TestTimings().Stream)
	defer cancel()
	_ = g.Leave(ctx)
	begin := time.Now()
	if err := g.Shutdown(ctx); err != nil {
		t.Errorf("after %s: %v", time.Since(begin), err)
	}
}
