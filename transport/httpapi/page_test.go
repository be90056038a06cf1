package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/spexio/spex/cluster"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/shard"
	"github.com/spexio/spex/transport"
	"github.com/spexio/spex/transport/httpapi"
)

// services are all that clients may call.
var services = []grpc.ServiceDesc{
	spexv1.InstanceService_ServiceDesc, spexv1.SpecificationService_ServiceDesc, spexv1.ModelService_ServiceDesc,
	spexv1.ClusterService_ServiceDesc, spexv1.WatchService_ServiceDesc,
}

func eachMethod(visit func(service, method string)) {
	for _, s := range services {
		name := strings.TrimPrefix(s.ServiceName, "spex.v1.")
		for _, m := range s.Methods {
			visit(name, m.MethodName)
		}
		for _, m := range s.Streams {
			visit(name, m.StreamName)
		}
	}
}

func readPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// TestPageHasEveryCall: each call has its section, with a command.
func TestPageHasEveryCall(t *testing.T) {
	sections := map[string]string{}
	for _, s := range strings.Split(readPage(t), "\n### ")[1:] {
		name, text, _ := strings.Cut(s, "\n")
		sections[name] = text
	}
	eachMethod(func(service, method string) {
		name := service + "/" + method
		if !strings.Contains(sections[name], "\ncurl ") {
			t.Errorf("docs/http.md has no section %q with a command", name)
		}
		delete(sections, name)
	})
	for name := range sections {
		t.Errorf("docs/http.md has a section %q, which is no call", name)
	}
}

func TestPageHasTheLimits(t *testing.T) {
	page := readPage(t)
	for what, limit := range map[string]string{
		"body of a call":                                   fmt.Sprint(httpapi.DefaultMaxBody, " bytes"),
		"body of a specification or model":                 fmt.Sprint(httpapi.DefaultMaxUpload, " bytes"),
		"a line of a stream of steps":                      fmt.Sprint(httpapi.MaxLine, " bytes"),
		"headers of a request":                             fmt.Sprint(httpapi.MaxHeader, " bytes"),
		"requests under way on a node, streams among them": fmt.Sprint(httpapi.DefaultMaxRequests),
		"time for a body, but for streams":                 fmt.Sprint(httpapi.DefaultBodyTimeout.Seconds(), " s"),
		"time in which a blocked answer has to move":       fmt.Sprint(httpapi.DefaultWriteTimeout.Seconds(), " s"),
	} {
		if row := "| " + what + " | " + limit + " |"; !strings.Contains(page, row) {
			t.Errorf("docs/http.md lacks %s", row)
		}
	}
}

// TestPage runs the commands of the page, in their order, against a real node,
// and compares each answer with the one on the page.
func TestPage(t *testing.T) {
	s, err := transport.StartServer(transport.ServerConfig{
		Name: "n1", ClusterName: "page", DataDir: t.TempDir(), Listen: "127.0.0.1:0", PeerListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0",
		Expect: 1, Shards: 2, Replicas: 1, Timing: shard.Test(), GossipTimings: cluster.TestTimings(), Version: "v0",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	blocks := regexp.MustCompile("(?s)```(\\w+)( \\d+)?\n(.*?)```").FindAllStringSubmatch(readPage(t), -1)
	var last *answer
	ran := 0
	for i, b := range blocks {
		kind, status, text := b[1], strings.TrimSpace(b[2]), b[3]
		if kind != "sh" {
			if last == nil {
				t.Fatalf("an answer without a command:\n%s", text)
			}
			if status == "" {
				status = "200"
			}
			compare(t, kind, status, text, *last)
			last = nil
			continue
		}
		// A watch has no end: read as far as the page does.
		want := ""
		if i+1 < len(blocks) && strings.Contains(text, "--max-time") {
			want = blocks[i+1][3]
		}
		for _, words := range commands(t, text) {
			got := perform(t, client, "http://"+s.HTTPAddr(), words, want)
			last, ran = &got, ran+1
			if want == "" && status == "" && got.status >= 500 {
				t.Errorf("%q: %d %s", words, got.status, got.body)
			}
		}
	}
	if ran < 27 {
		t.Errorf("only %d commands were found on the page", ran)
	}
}

// commands splits the lines of a shell into words, as far as the page needs.
func commands(t *testing.T, text string) (all [][]string) {
	t.Helper()
	var words []string
	var word strings.Builder
	quote, begun := byte(0), false
	end := func() {
		if begun {
			words = append(words, word.String())
		}
		word.Reset()
		begun = false
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(c)
		case c == '\'' || c == '"':
			quote, begun = c, true
		case c == '\\' && i+1 < len(text) && text[i+1] == '\n':
			i++
			end()
		case c == ' ':
			end()
		case c == '\n':
			end()
			if len(words) > 0 {
				all = append(all, words)
			}
			words = nil
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if quote != 0 {
		t.Fatalf("a quote is not closed in:\n%s", text)
	}
	return all
}

// perform does what curl would. With until it reads lines until these have come.
func perform(t *testing.T, client *http.Client, base string, words []string, until string) answer {
	t.Helper()
	if words[0] != "curl" {
		t.Fatalf("a command that is not curl: %q", words)
	}
	method, address, body, hasBody, query := "", "", "", false, url.Values{}
	header := http.Header{}
	for i := 1; i < len(words); i++ {
		next := func() string {
			i++
			if i == len(words) {
				t.Fatalf("%q lacks an argument", words)
			}
			return words[i]
		}
		switch w := words[i]; w {
		case "-s", "-sN", "-sG":
		case "-X":
			method = next()
		case "-H":
			k, v, _ := strings.Cut(next(), ": ")
			header.Set(k, v)
		case "-d", "--data-binary":
			body, hasBody = next(), true
			if file, ok := strings.CutPrefix(body, "@"); ok {
				data, err := os.ReadFile(filepath.Join("../..", file))
				if err != nil {
					t.Fatal(err)
				}
				body = string(data)
			}
		case "--data-urlencode":
			k, v, _ := strings.Cut(next(), "=")
			query.Set(k, v)
		case "--max-time":
			next()
		default:
			if strings.HasPrefix(w, "-") || address != "" {
				t.Fatalf("%q: this test does not know %s", words, w)
			}
			address = strings.Replace(w, "$SPEX", base, 1)
		}
	}
	switch {
	case method == "" && hasBody:
		method = "POST"
	case method == "":
		method = "GET"
	}
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	if hasBody && header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/x-www-form-urlencoded") // as curl does
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%q: %v", words, err)
	}
	defer resp.Body.Close()
	if until != "" {
		return answer{resp.StatusCode, resp.Header, readUntil(t, resp.Body, until)}
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%q: %v", words, err)
	}
	return answer{resp.StatusCode, resp.Header, data}
}

// readUntil keeps the lines that are wanted, and passes over others.
func readUntil(t *testing.T, r io.Reader, want string) (kept []byte) {
	t.Helper()
	wanted := documents(t, []byte(want))
	in := bufio.NewScanner(r)
	for len(wanted) > 0 {
		if !in.Scan() {
			t.Errorf("the stream ended before %v: %v", wanted[0], in.Err())
			break
		}
		if differs("", wanted[0], documents(t, in.Bytes())[0]) == nil {
			kept = append(append(kept, in.Bytes()...), '\n')
			wanted = wanted[1:]
		}
	}
	return kept
}

func documents(t *testing.T, text []byte) (docs []any) {
	t.Helper()
	for dec := json.NewDecoder(strings.NewReader(string(text))); ; {
		var v any
		if err := dec.Decode(&v); errors.Is(err, io.EOF) {
			return docs
		} else if err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		docs = append(docs, v)
	}
}

func compare(t *testing.T, kind, status, want string, got answer) {
	t.Helper()
	if fmt.Sprint(got.status) != status {
		t.Errorf("status %d, want %s with:\n%s\ngot:\n%s", got.status, status, want, got.body)
		return
	}
	if kind == "text" {
		if string(got.body) != want {
			t.Errorf("the page has:\n%s\nthe server says:\n%s", want, got.body)
		}
		return
	}
	wanted, have := documents(t, []byte(want)), documents(t, got.body)
	if err := differs("", wanted, have); err != nil {
		t.Errorf("%v: the page has:\n%s\nthe server says:\n%s", err, want, got.body)
	}
}

// differs says where have lacks what is wanted.
func differs(at string, want, have any) error {
	switch want := want.(type) {
	case map[string]any:
		m, ok := have.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is %v", at, have)
		}
		for k, v := range want {
			h, ok := m[k]
			if !ok {
				return fmt.Errorf("%s.%s is missing", at, k)
			}
			if err := differs(at+"."+k, v, h); err != nil {
				return err
			}
		}
	case []any:
		l, ok := have.([]any)
		if !ok || len(l) != len(want) {
			return fmt.Errorf("%s has not %d elements", at, len(want))
		}
		for i := range want {
			if err := differs(fmt.Sprintf("%s[%d]", at, i), want[i], l[i]); err != nil {
				return err
			}
		}
	default:
		if want != "…" && want != have {
			return fmt.Errorf("%s is %v, not %v", at, have, want)
		}
	}
	return nil
}

// TestComparisonSeesDifferences: without it, nothing would tell that the page is compared.
func TestComparisonSeesDifferences(t *testing.T) {
	for _, tc := range []struct {
		want, have string
		same       bool
	}{
		{`{"a": 1}`, `{"a": 1, "b": 2}`, true}, {`{"a": "…"}`, `{"a": [3]}`, true}, {`{"a": [1, "…"]}`, `{"a": [1, 2]}`, true},
		{`{"a": 1}`, `{"b": 1}`, false}, {`{"a": 1}`, `{"a": 2}`, false}, {`{"a": [1]}`, `{"a": [1, 2]}`, false}, {`{"a": {}}`, `{"a": 1}`, false},
		{`[[]]`, `[1]`, false},
	} {
		if err := differs("", documents(t, []byte(tc.want))[0], documents(t, []byte(tc.have))[0]); (err == nil) != tc.same {
			t.Errorf("%s and %s: %v", tc.want, tc.have, err)
		}
	}
	if got := commands(t, "curl -s 'a b' \\\n  \"c d\"\n\ncurl x\n"); !slices.EqualFunc(got, [][]string{{"curl", "-s", "a b", "c d"}, {"curl", "x"}}, slices.Equal) {
		t.Errorf("got %q", got)
	}
}
