package cluster

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

func never(string) bool { return false }

func openBook(t *testing.T, dir string) *AddressBook {
	t.Helper()
	b, err := OpenAddressBook(dir, Files{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func inCluster(id, cluster, address string, status MemberStatus) Member {
	return Member{ID: id, ClusterID: cluster, GossipAddress: address, Status: status}
}

// TestAddressBook: it has where members were alive last, over restarts, and nobody
// of another cluster or of none, nor this node itself.
func TestAddressBook(t *testing.T) {
	dir := t.TempDir()
	self := inCluster("a", clusterX, "a:1", StatusAlive)
	note := func(b *AddressBook, removed func(string) bool, members ...Member) {
		t.Helper()
		if err := b.Note(self, members, removed); err != nil {
			t.Fatal(err)
		}
	}
	want := func(b *AddressBook, want map[string]string) {
		t.Helper()
		for _, b := range []*AddressBook{b, openBook(t, dir)} {
			if got := b.Addresses(); !maps.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		}
	}
	b := openBook(t, dir)
	want(b, nil)
	note(b, never, self, inCluster("b", clusterX, "b:1", StatusAlive), inCluster("c", clusterX, "c:1", StatusAlive),
		inCluster("d", clusterY, "d:1", StatusAlive), inCluster("e", "", "e:1", StatusAlive))
	want(b, map[string]string{"b": "b:1", "c": "c:1"})
	// Dead, gone without a word, or back elsewhere.
	note(b, never, inCluster("b", clusterX, "b:2", StatusDead))
	want(b, map[string]string{"b": "b:1", "c": "c:1"})
	note(b, never, inCluster("b", clusterX, "b:2", StatusAlive))
	want(b, map[string]string{"b": "b:2", "c": "c:1"})
	note(b, func(id string) bool { return id == "c" }, inCluster("c", clusterX, "c:1", StatusAlive))
	want(b, map[string]string{"b": "b:2"})

	self.ClusterID = "" // not known yet: nobody is known to belong to it
	note(b, never, inCluster("f", "", "f:1", StatusAlive))
	want(b, map[string]string{"b": "b:2"})
}

func TestAddressBookIsBounded(t *testing.T) {
	b := openBook(t, t.TempDir())
	var members []Member
	for i := range 2 * maxBook {
		members = append(members, inCluster(fmt.Sprint("n", i), clusterX, "x:1", StatusAlive))
	}
	if err := b.Note(inCluster("a", clusterX, "", StatusAlive), members, never); err != nil || len(b.Addresses()) != maxBook {
		t.Errorf("%d addresses, %v", len(b.Addresses()), err)
	}
}

// TestAddressBookOnABadDisk: a file that cannot be read is named and begun anew; one
// that cannot be written is tried again, and does not count as written.
func TestAddressBookOnABadDisk(t *testing.T) {
	self, other := inCluster("a", clusterX, "a:1", StatusAlive), inCluster("b", clusterX, "b:1", StatusAlive)
	for name, content := range map[string]string{"cut off": `{"format": 1, "gos`, "of a later release": `{"format": 2}`, "empty": ""} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, bookFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := OpenAddressBook(dir, Files{})
		if err == nil || len(b.Addresses()) != 0 {
			t.Errorf("%s: %v, %v", name, b.Addresses(), err)
		}
		if err := b.Note(self, []Member{other}, never); err != nil || len(openBook(t, dir).Addresses()) != 1 {
			t.Errorf("%s: cannot be begun anew: %v", name, err)
		}
	}
	full, files := true, OSFiles()
	write := files.Write
	files.Write = func(path string, data []byte) error {
		if full {
			return errors.New("no space left on device")
		}
		return write(path, data)
	}
	b, err := OpenAddressBook(t.TempDir(), files)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Note(self, []Member{other}, never); err == nil || len(b.Addresses()) != 0 {
		t.Errorf("on a full disk: %v, %v", b.Addresses(), err)
	}
	full = false
	if err := b.Note(self, []Member{other}, never); err != nil || len(b.Addresses()) != 1 {
		t.Errorf("with space again: %v, %v", b.Addresses(), err)
	}
}

// TestGossipContactsTheRemembered: with seeds that lead nowhere, a node finds the
// others where they were, and goes on doing so for those who are not alive.
func TestGossipContactsTheRemembered(t *testing.T) {
	inGossipNet(t, func(t *testing.T, network *gossipNet) {
		a := network.start(t, "a", clusterX, nil)
		b := network.start(t, "b", clusterX, func(c *GossipConfig) {
			c.Seeds = []string{"127.0.0.1:1"}
			c.Remembered = func() map[string]string { return map[string]string{"a": a.Address(), "c": "127.0.0.1:2"} }
		})
		awaitView(t, b, "a alive 1, b alive 1")
		awaitView(t, a, "a alive 1, b alive 1")
		if got := fmt.Sprint(b.rejoinTargets()); got != "[127.0.0.1:1 127.0.0.1:2]" {
			t.Errorf("contacted from then on: %v", got)
		}
	})
}
