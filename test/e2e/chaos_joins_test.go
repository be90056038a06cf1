//go:build e2e && linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// strangerHost gives the round a host for nodes that are none of the cluster's.
func (r *round) strangerHost() *host {
	if r.stranger == nil {
		h, err := r.a.net.add()
		if err != nil {
			r.a.t.Fatal(err)
		}
		r.stranger = h
	}
	return r.stranger
}

// strangerNode is a server on that host, with a data directory of its own.
func (r *round) strangerNode(name string, args ...string) *node {
	h := r.strangerHost()
	nd := &node{name: name, dir: filepath.Join(r.a.dir, name)}
	nd.args = append(append([]string{"server", "--name", name, "--data-dir", nd.dir}, h.settle(nd)...), args...)
	return nd
}

// ended kills a stranger and returns what it logged.
func (r *round) ended(nd *node) string {
	if !nd.running() {
		r.a.t.Errorf("%s has ended by itself: %v", nd.name, nd.err)
	} else {
		r.a.signal(nd, syscall.SIGKILL)
		<-nd.done
	}
	text, err := os.ReadFile(filepath.Join(r.a.dir, nd.name+".log"))
	if err != nil {
		r.a.t.Fatal(err)
	}
	return string(text)
}

// nobodyNew: the cluster has the nodes that it had.
func (r *round) nobodyNew(what string) {
	r.a.t.Helper()
	st := r.a.look()
	if len(st.GetNodes()) != len(r.a.nodes) {
		r.a.t.Errorf("%s: the cluster lists %v", what, st.GetNodes())
	}
}

// otherName has a node of another cluster name try to join. Nobody hears it.
func otherName(r *round, hold time.Duration) func() {
	r.strangers++
	name := fmt.Sprintf("stranger%d", r.strangers)
	nd := r.strangerNode(name, "--cluster", "other", "--join", r.a.join())
	r.a.start(nd)
	r.note("%s has another cluster's name", name)
	return func() {
		select {
		case line := <-nd.ready:
			r.a.t.Errorf("%s joined a cluster of another name: %s", name, line)
		default:
		}
		r.ended(nd)
		r.nobodyNew(name)
	}
}

// otherCluster has a node of another cluster, which has the same name, look for
// members among ours, as happens when an address is used again.
func otherCluster(r *round, hold time.Duration) func() {
	r.strangers++
	name := fmt.Sprintf("stranger%d", r.strangers)
	nd := r.strangerNode(name, "--expect", "1", "--shards", "1", "--replicas", "1")
	r.a.start(nd)
	r.a.awaitReady(nd, 60*time.Second)
	r.ended(nd)
	nd = r.strangerNode(name, "--expect", "1", "--shards", "1", "--replicas", "1", "--join", r.a.join())
	r.a.start(nd)
	r.note("%s belongs to another cluster of the same name", name)
	return func() {
		// It serves its own cluster, and both have heard of each other.
		r.a.awaitReady(nd, 60*time.Second)
		own := r.a.connect(nd)
		deadline := time.Now().Add(30 * time.Second)
		for {
			text, err := os.ReadFile(filepath.Join(r.a.dir, name+".log"))
			if err != nil {
				r.a.t.Fatal(err)
			}
			if strings.Contains(string(text), "its_cluster_id=") {
				break
			}
			if time.Now().After(deadline) {
				r.a.t.Errorf("%s has not said that it met another cluster", name)
				break
			}
			wait(50 * time.Millisecond)
		}
		st, err := own.Status(r.a.t.Context(), false)
		if err != nil {
			r.a.t.Fatalf("%s does not serve its own cluster: %v", name, err)
		}
		if st.GetClusterId() == r.a.look().GetClusterId() || len(st.GetNodes()) != 1 {
			r.a.t.Errorf("%s is in the cluster %s with %v", name, st.GetClusterId(), st.GetNodes())
		}
		r.ended(nd)
		r.nobodyNew(name)
	}
}
