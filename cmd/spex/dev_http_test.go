package main

import (
	"errors"
	"slices"
	"testing"
)

// TestHTTPPortsOfDev: nodes count up from a port, and the system chooses when it
// chooses the ports of gRPC too, or when it is asked to.
func TestHTTPPortsOfDev(t *testing.T) {
	for _, tc := range []struct {
		http  string
		given bool
		grpc  int
		want  []string
	}{
		{defaultHTTPAddr, false, 7300, []string{"127.0.0.1:7380", "127.0.0.1:7381"}},
		{defaultHTTPAddr, false, 0, []string{"127.0.0.1:0", "127.0.0.1:0"}},
		{defaultHTTPAddr, true, 0, []string{"127.0.0.1:7380", "127.0.0.1:7381"}},
		{"[::1]:0", true, 7300, []string{"[::1]:0", "[::1]:0"}},
		{"", true, 7300, []string{"", ""}},
	} {
		o := &devOptions{httpListen: tc.http, httpGiven: tc.given}
		if err := o.httpPorts(tc.grpc); err != nil {
			t.Errorf("%+v: %v", tc, err)
			continue
		}
		if got := []string{o.httpAddress(0), o.httpAddress(1)}; !slices.Equal(got, tc.want) {
			t.Errorf("%+v: got %q", tc, got)
		}
	}
	var usage *usageError
	if err := (&devOptions{httpListen: "8080"}).httpPorts(0); !errors.As(err, &usage) {
		t.Errorf("a port without a host: %v", err)
	}
}
