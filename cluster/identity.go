package cluster

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/spexio/spex/internal/atomicfile"
	"github.com/spexio/spex/internal/failpoint"
)

const (
	identityFile   = "node.json"
	identityFormat = 1
	lockFile       = "LOCK"

	// MaxNodeNameBytes and MaxClusterNameBytes bound the names of a node and of a cluster.
	MaxNodeNameBytes    = 63
	MaxClusterNameBytes = 63
	// nodeIDSuffix is the number of random characters behind a node's name: 40 bits.
	nodeIDSuffix = 8
)

var nameSyntax = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

// CheckName checks the name of a node or a cluster: 1 to 63 letters, digits,
// dots, dashes and underscores, a letter or digit at both ends. what names the
// setting in the error.
func CheckName(what, name string) error {
	if !nameSyntax.MatchString(name) {
		return fmt.Errorf("%s %q: want 1 to %d letters, digits, dots, dashes and underscores, with a letter or digit at both ends",
			what, name, MaxNodeNameBytes)
	}
	return nil
}

// Files is how identity and pledges reach the disk. It exists so that tests can
// fail and crash at every step.
type Files struct {
	// Read returns the content of a file, or an error that is fs.ErrNotExist.
	Read func(path string) ([]byte, error)
	// Write replaces a file whole. Once it returned nil the content survives a
	// crash; after an error either content may be found.
	Write func(path string, data []byte) error
}

// OSFiles is the real file system.
func OSFiles() Files {
	return Files{
		Read:  os.ReadFile,
		Write: func(path string, data []byte) error { return atomicfile.WriteFile(path, data, 0o600) },
	}
}

// IdentityOptions say which directory a node lives in and what it is called.
type IdentityOptions struct {
	// Dir is the data directory. It is made if it does not exist.
	Dir string
	// Name is the configured name of the node, ClusterName that of the cluster.
	Name        string
	ClusterName string
	// Rand is where the suffix of a new node id comes from; nil means crypto/rand.
	Rand io.Reader
	// Files is the file system; the zero value means the real one.
	Files Files
}

// Identity is who a node is: an id made once for its data directory, and the
// cluster that it belongs to, once it is known. It holds the directory's lock
// until Close. It is safe for concurrent use.
type Identity struct {
	dir   string
	files Files
	lock  io.Closer

	mu sync.Mutex // guards record and bound, and makes writes of the file one at a time
	// record is what is known to be on disk.
	record identityRecord
	// bound is the cluster id of the first SetClusterID. It stays when the write
	// failed, since the file may hold it all the same.
	bound string
}

type identityRecord struct {
	Format      int    `json:"format"`
	NodeID      string `json:"node_id"`
	Name        string `json:"name"`
	ClusterName string `json:"cluster_name"`
	ClusterID   string `json:"cluster_id,omitempty"`
}

// OpenIdentity locks a data directory and reads who lives in it, or moves a new
// node in when the directory is empty. The node id is the name and a random
// suffix: a node that lost its disk comes back as another node, since a voter
// that forgot what it stored could lose committed data.
//
// The error is a *DirectoryError when the directory is in use, belongs to
// another node or another cluster, is damaged, or is not a data directory. A
// directory stays with the name that it was made for: starting a server on
// the wrong directory is a mistake that is easily made.
func OpenIdentity(opts IdentityOptions) (*Identity, error) {
	if err := CheckName("node name", opts.Name); err != nil {
		return nil, err
	}
	if err := CheckName("cluster name", opts.ClusterName); err != nil {
		return nil, err
	}
	if opts.Rand == nil {
		opts.Rand = rand.Reader
	}
	if opts.Files.Read == nil {
		opts.Files = OSFiles()
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := lockDirectory(filepath.Join(opts.Dir, lockFile))
	if err != nil {
		if errors.Is(err, ErrDirectoryInUse) {
			return nil, dirError(opts.Dir, ErrDirectoryInUse, "stop the other server, or give this one a --data-dir of its own", "")
		}
		return nil, fmt.Errorf("lock data directory %s: %w", opts.Dir, err)
	}
	i := &Identity{dir: opts.Dir, files: opts.Files, lock: lock}
	if err := i.load(opts); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return i, nil
}

// load reads or makes the record; nobody else has the identity yet.
func (i *Identity) load(opts IdentityOptions) error {
	data, err := i.files.Read(filepath.Join(i.dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return i.create(opts)
	}
	if err != nil {
		return fmt.Errorf("read identity: %w", err)
	}
	var r identityRecord
	if err := json.Unmarshal(data, &r); err != nil {
		return dirError(i.dir, ErrDirectoryDamaged, mendDamaged, "%s: %v", identityFile, err)
	}
	if r.Format != identityFormat {
		return dirError(i.dir, ErrDirectoryDamaged, "use the release of Spex that wrote it, or a newer one",
			"%s has format %d, this release reads %d", identityFile, r.Format, identityFormat)
	}
	if r.NodeID == "" || NodeName(r.NodeID) != r.Name {
		return dirError(i.dir, ErrDirectoryDamaged, mendDamaged, "%s names node %q with id %q", identityFile, r.Name, r.NodeID)
	}
	if r.Name != opts.Name {
		return dirError(i.dir, ErrOtherNode, fmt.Sprintf("start with --name %s, or with the data directory of %s", r.Name, opts.Name),
			"it is the directory of node %q, not of %q", r.Name, opts.Name)
	}
	if r.ClusterID != "" && r.ClusterName != opts.ClusterName {
		return dirError(i.dir, ErrOtherCluster, fmt.Sprintf("start with --cluster %s, or with an empty data directory", r.ClusterName),
			"it belongs to cluster %q (id %s), not to %q", r.ClusterName, r.ClusterID, opts.ClusterName)
	}
	if r.ClusterID == "" {
		r.ClusterName = opts.ClusterName
	}
	i.record, i.bound = r, r.ClusterID
	return nil
}

const mendDamaged = "restore the directory from a copy, or start with an empty one: the node then joins as a new node"

// create makes a new node of a directory that holds nothing but what a crash
// during an earlier attempt may have left.
func (i *Identity) create(opts IdentityOptions) error {
	entries, err := os.ReadDir(i.dir)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	for _, e := range entries {
		n := e.Name()
		if n == lockFile || n == "lost+found" || strings.HasSuffix(n, ".tmp") {
			continue
		}
		return dirError(i.dir, ErrNotDataDirectory, "start with an empty directory, or restore "+identityFile+" from a copy",
			"it holds %q but no %s", n, identityFile)
	}
	suffix := make([]byte, nodeIDSuffix*5/8)
	if _, err := io.ReadFull(opts.Rand, suffix); err != nil {
		return fmt.Errorf("make a node id: %w", err)
	}
	encoded := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(suffix))
	r := identityRecord{
		Format:      identityFormat,
		NodeID:      opts.Name + "-" + encoded,
		Name:        opts.Name,
		ClusterName: opts.ClusterName,
	}
	if err := i.write(r); err != nil {
		return err
	}
	i.record = r
	return nil
}

func (i *Identity) write(r identityRecord) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode identity: %w", err)
	}
	if err := i.files.Write(filepath.Join(i.dir, identityFile), append(data, '\n')); err != nil {
		return fmt.Errorf("store identity: %w", err)
	}
	return nil
}

// NodeID returns the id of the node: its name and a random suffix.
func (i *Identity) NodeID() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.record.NodeID
}

// Name returns the configured name of the node.
func (i *Identity) Name() string { return NodeName(i.NodeID()) }

// Dir returns the data directory.
func (i *Identity) Dir() string { return i.dir }

// ClusterName returns the configured name of the cluster.
func (i *Identity) ClusterName() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.record.ClusterName
}

// ClusterID returns the id of the cluster that the node belongs to, or "" while
// it belongs to none.
func (i *Identity) ClusterID() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.record.ClusterID
}

// SetClusterID binds the directory to a cluster, durably and for ever. The same
// id again changes nothing; another one is a *DirectoryError. After any other
// error the binding may or may not be on disk: only the same id is accepted
// from then on.
func (i *Identity) SetClusterID(id string) error {
	if id == "" {
		return errors.New("bind data directory: the cluster id is empty")
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.bound != "" && i.bound != id {
		return dirError(i.dir, ErrOtherCluster, "start with an empty data directory to join another cluster",
			"it belongs to cluster id %s, not to %s", i.bound, id)
	}
	if i.record.ClusterID == id {
		return nil
	}
	failpoint.Hit("cluster/before-cluster-id")
	i.bound = id
	r := i.record
	r.ClusterID = id
	if err := i.write(r); err != nil {
		return err
	}
	i.record = r
	return nil
}

// Close gives the lock of the directory back.
func (i *Identity) Close() error { return i.lock.Close() }

// NodeName returns the configured name in a node id.
func NodeName(id string) string {
	if n := len(id) - nodeIDSuffix - 1; n > 0 && id[n] == '-' {
		return id[:n]
	}
	return id
}
