package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spexio/spex/drill"
)

// agents breaks nodes through the agents that run beside them.
type agents struct {
	urls  map[string]string
	names []string
	token string
	http  *http.Client
}

// newAgents asks every agent what it can do before anything is broken.
func (a *app) newAgents(ctx context.Context, f *drillFlags, nodes []string) (*agents, error) {
	token, err := a.drillToken(f.tokenFile)
	if err != nil {
		return nil, err
	}
	b := &agents{urls: map[string]string{}, token: token, http: &http.Client{Timeout: commandTime + 10*time.Second}}
	for _, entry := range f.agents {
		name, at, ok := strings.Cut(entry, "=")
		u, err := url.Parse(at)
		if !ok || err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, usagef("--agent %q: write NAME=http://HOST:PORT", entry)
		}
		if err := knownNode(name, nodes); err != nil {
			return nil, err
		}
		if b.urls[name] != "" {
			return nil, usagef("--agent: %s is there twice", name)
		}
		b.urls[name], b.names = strings.TrimSuffix(at, "/"), append(b.names, name)
		answer, err := b.call(ctx, name, http.MethodGet, "/v1/agent", nil)
		if err != nil {
			return nil, err
		}
		if f.hold >= answer.Limit {
			return nil, usagef("--hold %s: the agent of %s undoes a fault by itself after %s. Give the agent a longer --limit, or use a shorter --hold", f.hold, name, answer.Limit)
		}
		for _, k := range f.faults {
			if !slices.Contains(answer.Faults, drill.FaultKind(k)) {
				return nil, usagef("the agent of %s cannot %s its node; it can: %s. Give the agent what it needs, or choose other --faults", name, k, strings.Join(faultNames(answer.Faults), ", "))
			}
		}
	}
	return b, nil
}

// Nodes implements drill.Breaker.
func (b *agents) Nodes() []string { return b.names }

// Break implements drill.Breaker.
func (b *agents) Break(ctx context.Context, node string, kind drill.FaultKind) error {
	_, err := b.call(ctx, node, http.MethodPost, "/v1/break", &agentRequest{Fault: kind})
	return err
}

// Mend implements drill.Breaker.
func (b *agents) Mend(ctx context.Context, node string, kind drill.FaultKind) error {
	_, err := b.call(ctx, node, http.MethodPost, "/v1/mend", &agentRequest{Fault: kind})
	return err
}

func (b *agents) call(ctx context.Context, node, method, path string, body *agentRequest) (agentAnswer, error) {
	var a agentAnswer
	fail := func(err error) (agentAnswer, error) { return a, fmt.Errorf("the agent of %s: %w", node, err) }
	data, err := json.Marshal(body)
	if err != nil {
		return fail(err)
	}
	req, err := http.NewRequestWithContext(ctx, method, b.urls[node]+path, bytes.NewReader(data))
	if err != nil {
		return fail(err)
	}
	req.Header.Set("Authorization", "Bearer "+b.token)
	resp, err := b.http.Do(req)
	if err != nil {
		return fail(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAgentBody))
	if err != nil {
		return fail(err)
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusConflict {
		return fail(fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text))))
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return fail(fmt.Errorf("it does not answer like an agent: %w", err))
	}
	if a.Error != "" {
		return fail(fmt.Errorf("%s", a.Error))
	}
	return a, nil
}
