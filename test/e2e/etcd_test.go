//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// etcdBinary is where etcd is installed, "" if it is not.
func etcdBinary() string {
	path, err := exec.LookPath("etcd")
	if err != nil {
		return ""
	}
	return path
}

// etcd is a cluster of three members with default settings, for comparison.
type etcd struct {
	t       *testing.T
	path    string
	members []*etcdMember
	http    *http.Client
}

type etcdMember struct {
	name, url string
	args      []string
	log       string
	cmd       *exec.Cmd
}

func startEtcd(t *testing.T, path string) *etcd {
	t.Helper()
	dir := t.TempDir()
	ports := freePorts(t, 6)
	var initial []string
	for i := range 3 {
		initial = append(initial, fmt.Sprintf("e%d=http://%s", i, ports[2*i+1]))
	}
	e := &etcd{t: t, path: path, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	t.Cleanup(e.cleanup)
	for i := range 3 {
		name, url, peer := fmt.Sprintf("e%d", i), "http://"+ports[2*i], "http://"+ports[2*i+1]
		e.members = append(e.members, &etcdMember{name: name, url: url, log: filepath.Join(dir, name+".log"), args: []string{
			"--name", name, "--data-dir", filepath.Join(dir, name), "--listen-client-urls", url, "--advertise-client-urls", url,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", strings.Join(initial, ","),
		}})
	}
	for _, m := range e.members {
		e.start(m)
	}
	e.awaitAll()
	return e
}

func (e *etcd) start(m *etcdMember) {
	e.t.Helper()
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		e.t.Fatal(err)
	}
	defer log.Close()
	m.cmd = exec.Command(e.path, m.args...)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	if err := m.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
}

func (e *etcd) kill(m *etcdMember) {
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
}

func (e *etcd) cleanup() {
	for _, m := range e.members {
		if m.cmd != nil && m.cmd.ProcessState == nil {
			e.kill(m)
		}
	}
	e.http.CloseIdleConnections()
}

// call makes one call of the gateway that every member has for JSON.
func (e *etcd) call(ctx context.Context, url, path, body string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	resp, err := e.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s %w", path, resp.Status, text, err)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// put writes one key through one member.
func (e *etcd) put(ctx context.Context, m *etcdMember) error {
	return e.call(ctx, m.url, "/v3/kv/put", `{"key":"cHJvYmU=","value":"`+strings.Repeat("eHh4", 64)+`"}`, nil)
}

// awaitAll waits until a write through each member succeeds.
func (e *etcd) awaitAll() {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for _, m := range e.members {
		for {
			call, done := context.WithTimeout(ctx, 2*time.Second)
			err := e.put(call, m)
			done()
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				e.t.Fatalf("etcd does not serve: %v", err)
			}
			wait(50 * time.Millisecond)
		}
	}
}

// leader is the member that leads.
func (e *etcd) leader() *etcdMember {
	e.t.Helper()
	for _, m := range e.members {
		var st struct {
			Header struct {
				MemberID string `json:"member_id"`
			} `json:"header"`
			Leader string `json:"leader"`
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := e.call(ctx, m.url, "/v3/maintenance/status", "{}", &st)
		cancel()
		if err == nil && st.Leader != "" && st.Leader == st.Header.MemberID {
			return m
		}
	}
	e.t.Fatal("etcd has no leader")
	return nil
}

// etcdFailovers measures n failovers as spexFailovers does. A write goes to both
// survivors, so that neither cluster is charged for a client's search.
func etcdFailovers(t *testing.T, path string, n int) times {
	e := startEtcd(t, path)
	var all times
	for round := range n {
		e.awaitAll()
		wait(200 * time.Millisecond)
		dead := e.leader()
		var probes []ackProbe
		begin := time.Now()
		e.kill(dead)
		for _, m := range e.members {
			if m != dead {
				probes = append(probes, ackProbe{name: "etcd " + m.name, write: func(ctx context.Context) error { return e.put(ctx, m) }})
			}
		}
		took := min2(firstAcks(t, begin, probes, 30*time.Second))
		all = append(all, took)
		t.Logf("etcd round %d: %s", round, took.Round(time.Millisecond))
		e.start(dead)
	}
	return all
}

func min2(d []time.Duration) time.Duration { return min(d[0], d[1]) }
