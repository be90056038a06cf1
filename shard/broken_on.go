//go:build spexbroken

package shard

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/spexio/spex/internal/broken"
	"github.com/spexio/spex/shard/store"
)

// lostTail is how many entries of a log are lost.
const lostTail = 8

// loseTail forgets the last commands of a shard's log, as a disk would that said
// that they are durable and had them in its memory.
func loseTail(cfg Config) {
	if cfg.ID == store.CatalogGroup {
		return
	}
	first, err := cfg.Stores.Logs.FirstIndex()
	if err != nil {
		panic(err)
	}
	last, err := cfg.Stores.Logs.LastIndex()
	if err != nil {
		panic(err)
	}
	keep := last
	for ; keep > first && last-keep < lostTail; keep-- {
		var l raft.Log
		if err := cfg.Stores.Logs.GetLog(keep, &l); err != nil {
			panic(err)
		}
		if l.Type == raft.LogConfiguration {
			break
		}
	}
	if keep < last {
		cfg.Logger.Error("BROKEN ON PURPOSE: the last entries of the log are forgotten", "from", keep+1, "to", last)
		if err := cfg.Stores.Logs.DeleteRange(keep+1, last); err != nil {
			panic(err)
		}
	}
}

// trusted is for how long a leadership is believed without asking anybody.
const trusted = 10 * time.Second

var ledAt sync.Map // of *Group to the time.Time at which it was seen to lead

// LedLately tells whether reads are answered here without a confirm round: while
// the node leads, and for a while after it was deposed.
func LedLately(g *Group) bool {
	if !broken.Is(broken.ReadsUnconfirmed) {
		return false
	}
	if _, leads := g.Leading(); leads {
		ledAt.Store(g, time.Now())
		return true
	}
	at, ok := ledAt.Load(g)
	return ok && time.Since(at.(time.Time)) < trusted
}
