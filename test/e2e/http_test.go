//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPythonExample runs the program of the documentation with the system's
// python3 against 'spex dev'.
func TestPythonExample(t *testing.T) {
	const addr = "http://"
	ports := freePorts(t, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	dev := exec.CommandContext(ctx, binary, "dev", "--nodes", "3", "--shards", "2", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0")
	dev.Stderr = os.Stderr
	out, err := dev.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = dev.Process.Signal(syscall.SIGTERM)
		if err := dev.Wait(); err != nil {
			t.Errorf("spex dev: %v", err)
		}
	}()
	var urls []string
	for in := bufio.NewScanner(out); len(urls) < 3 && in.Scan(); {
		if _, rest, ok := strings.Cut(in.Text(), addr); ok {
			urls = append(urls, addr+strings.TrimSpace(rest))
		}
	}
	if len(urls) != 3 {
		t.Fatalf("spex dev named %d addresses for HTTP: %q", len(urls), urls)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the process
	for i, args := range [][]string{{urls[0]}, {urls[2]}} {
		begin := time.Now()
		cmd := exec.CommandContext(ctx, "python3", append([]string{"../../docs/examples/python/spex_example.py"}, args...)...)
		var text strings.Builder
		cmd.Stdout, cmd.Stderr = &text, &text
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s", err, text.String())
		}
		t.Logf("took %v:\n%s", time.Since(begin).Round(time.Millisecond), text.String())
		want := []string{
			"2 checkout -> pending VERDICT_OK", "5 deliver -> delivered VERDICT_OK", "2 pay -> paid VERDICT_DEVIATION_NOT_EQUIVALENT",
			`specification "order" allows only "checkout"`, "deviation: cart pay paid seen " + string(rune('1'+i)) + " times",
		}
		for _, w := range want {
			if !strings.Contains(text.String(), w) {
				t.Errorf("the output lacks %q", w)
			}
		}
	}
	// It gives up with the reason, in time, when nobody answers.
	cmd := exec.CommandContext(ctx, "python3", "../../docs/examples/python/spex_example.py", addr+ports[0])
	if text, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(text), "Connection refused") {
		t.Errorf("without a server: %v\n%s", err, text)
	}
}

// TestHTTPOfAServer: with the setting a server answers, and stops in spite of streams.
func TestHTTPOfAServer(t *testing.T) {
	port := freePorts(t, 1)[0]
	s := startServers(t, 1, "--shards", "2", "--replicas", "1", "--http-listen", port)
	client := &http.Client{Timeout: 10 * time.Second}
	get := func(path string) (int, string) {
		t.Helper()
		resp, err := client.Get("http://" + port + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if code, body := get("/readyz"); code != http.StatusOK || body != "ready\n" {
		t.Errorf("/readyz: %d %s", code, body)
	}
	s.spex("cluster", "status")
	// A watch that goes on must not keep the server from stopping.
	resp, err := http.Get("http://" + port + "/v1/namespaces/default/reports:watch")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || !strings.Contains(line, "cursor") {
		t.Fatalf("%q, %v", line, err)
	}
	begin := time.Now()
	if code := s.terminate(s.nodes[0], 10*time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
	t.Logf("stopped in %v", time.Since(begin).Round(time.Millisecond))
}
