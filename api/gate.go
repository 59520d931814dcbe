package api

import (
	"sync/atomic"

	"github.com/weir-io/weir/limiter"
)

// A gate keeps checks out until they could be answered once. What happens later, draining
// above all, is no reason to refuse what comes in.
type gate struct {
	answers func() error // nil = always
	opened  atomic.Bool
}

// newGate returns a gate that opens when answers says so, or where that is nil, ready.
func newGate(answers, ready func() error) gate {
	if answers == nil {
		answers = ready
	}
	return gate{answers: answers}
}

// check returns why no check can be answered yet.
func (g *gate) check() *limiter.Error {
	if g.answers == nil || g.opened.Load() {
		return nil
	}
	if err := g.answers(); err != nil {
		return &limiter.Error{Code: limiter.Shed, Message: "the node is starting: " + err.Error()}
	}
	g.opened.Store(true)
	return nil
}
