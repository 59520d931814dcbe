package api

import (
	"sync/atomic"

	"github.com/weir-io/weir/limiter"
)

// A gate keeps checks out until the node was ready once. What happens later, draining
// above all, is no reason to refuse what comes in.
type gate struct {
	ready  func() error // nil = always
	opened atomic.Bool
}

// check returns why no check can be answered yet.
func (g *gate) check() *limiter.Error {
	if g.ready == nil || g.opened.Load() {
		return nil
	}
	if err := g.ready(); err != nil {
		return &limiter.Error{Code: limiter.Shed, Message: "the node is starting: " + err.Error()}
	}
	g.opened.Store(true)
	return nil
}
