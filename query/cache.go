package query

import "sync"

// Cache keeps compiled expressions: a list is read in pages, and each of them
// brings its expression again. The zero value is ready and may be used concurrently.
type Cache struct {
	mu sync.Mutex // guards the fields below
	// recent and older are two generations: what is in neither is compiled, and
	// a full recent one becomes the older one.
	recent, older map[string]*Expression
}

// cached bounds a generation.
const cached = 64

// Compile is like the function Compile, and keeps what it made.
func (c *Cache) Compile(source string) (*Expression, error) {
	c.mu.Lock()
	e, old := c.recent[source], c.older[source]
	c.mu.Unlock()
	if e != nil {
		return e, nil
	}
	if e = old; e == nil {
		var err error
		if e, err = Compile(source); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.recent == nil || len(c.recent) >= cached {
		c.older, c.recent = c.recent, make(map[string]*Expression, cached)
	}
	c.recent[source] = e
	return e, nil
}
