package cluster

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
)

// memFiles is a disk for pledges: a failing write keeps the old or the new
// content, which a reader finds out only after a crash.
type memFiles map[string][]byte

func (m memFiles) files() Files {
	return Files{
		Read: func(path string) ([]byte, error) {
			data, ok := m[filepath.Base(path)]
			if !ok {
				return nil, fs.ErrNotExist
			}
			return data, nil
		},
		Write: func(path string, data []byte) error {
			m[filepath.Base(path)] = bytes.Clone(data)
			return nil
		},
	}
}

var testProposal = Proposal{ClusterName: "spex", ClusterID: "X", Members: []string{"a", "b", "c"}, Shards: 16, Replicas: 3}

func TestPledgeIsForEver(t *testing.T) {
	disk := memFiles{}
	book, err := openPledges("dir", disk.files())
	if err != nil {
		t.Fatal(err)
	}
	if _, bound, _ := book.current(); bound {
		t.Fatal("a new node is bound")
	}
	if err := book.pledge(testProposal); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Proposal){
		"id":       func(p *Proposal) { p.ClusterID = "Y" },
		"name":     func(p *Proposal) { p.ClusterName = "prod" },
		"members":  func(p *Proposal) { p.Members = []string{"a", "b", "d"} },
		"fewer":    func(p *Proposal) { p.Members = []string{"a", "b"} },
		"shards":   func(p *Proposal) { p.Shards = 8 },
		"replicas": func(p *Proposal) { p.Replicas = 1 },
	} {
		p := testProposal
		change(&p)
		if err := book.pledge(p); !errors.Is(err, errPledgedElsewhere) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	reopened, err := openPledges("dir", disk.files())
	if err != nil {
		t.Fatal(err)
	}
	if p, bound, durable := reopened.current(); !bound || !durable || !p.Equal(testProposal) {
		t.Fatalf("after a restart: %+v", p)
	}
}

// TestFailedPledgeBinds: a write that failed may be on disk all the same, so
// that only the same proposal may be supported, and is not counted before a
// write succeeded.
func TestFailedPledgeBinds(t *testing.T) {
	disk := memFiles{}
	files := disk.files()
	boom := errors.New("i/o error")
	files.Write = func(string, []byte) error { return boom }
	book, err := openPledges("dir", files)
	if err != nil {
		t.Fatal(err)
	}
	if err := book.pledge(testProposal); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if _, bound, durable := book.current(); !bound || durable {
		t.Fatalf("bound %t, durable %t", bound, durable)
	}
	other := testProposal
	other.ClusterID = "Y"
	if err := book.pledge(other); !errors.Is(err, errPledgedElsewhere) {
		t.Fatal(err)
	}
	book.files = disk.files()
	if err := book.pledge(testProposal); err != nil {
		t.Fatal(err)
	}
	if _, _, durable := book.current(); !durable {
		t.Fatal("not durable after a good write")
	}
}

func TestDamagedPledgeIsRefused(t *testing.T) {
	for _, content := range []string{
		"", "{", "null", `{"format":9}`, `{"format":1}`,
		`{"format":1,"cluster_name":"s","cluster_id":"X","members":["b","a"],"shards":1,"replicas":1}`,
		`{"format":1,"cluster_name":"s","cluster_id":"X","members":["a","a"],"shards":1,"replicas":1}`,
		`{"format":1,"cluster_name":"s","cluster_id":"X","members":[],"shards":1,"replicas":1}`,
		`{"format":1,"cluster_name":"s","cluster_id":"X","members":["a"],"shards":0,"replicas":1}`,
	} {
		disk := memFiles{pledgeFile: []byte(content)}
		if _, err := openPledges("dir", disk.files()); !errors.Is(err, ErrDirectoryDamaged) {
			t.Errorf("%q: %v", content, err)
		}
	}
}
