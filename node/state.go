package node

import (
	"errors"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Addresses returns where the node's listeners are bound.
func (n *Node) Addresses() Addresses { return n.addr }

// ID returns the node's id.
func (n *Node) ID() string { return n.self.ID }

// Ready returns nil while the node decides as a member of its cluster, else what is
// missing.
func (n *Node) Ready() error {
	if n.draining.Load() {
		return errors.New("the node is draining")
	}
	if s := n.store.Status(); s.Err != nil {
		return s.Err
	}
	if err := n.cluster.Ready(); err != nil {
		return err
	}
	if !n.settled.Load() {
		if !n.store.Settled() {
			return errors.New("the policies of the log are being compiled")
		}
		n.settled.Store(true) // later changes find the earlier ones in force
	}
	return nil
}

// answers returns nil while checks are answered, which is sooner than Ready where the
// cluster has no leader to make the node ready.
func (n *Node) answers() error {
	if s := n.store.Status(); s.Err != nil {
		return s.Err
	}
	if !n.store.Settled() {
		return n.Ready()
	}
	return n.cluster.CanAnswer()
}

// Done is closed when a front door broke and the node cannot go on: Err says why, and
// Close is still to be called.
func (n *Node) Done() <-chan struct{} { return n.broken }

// Err returns why a front door broke, nil while none did.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// register registers the metrics that are the whole node's.
func (n *Node) register() error {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "weir_build_info", Help: "Always 1; its labels say what was built.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	policies := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_policy_version", Help: "Policy version this node applies.",
	}, func() float64 { return float64(n.store.Policies().Version) })
	all := []prometheus.Collector{build, policies, &raftState{n}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})}
	var errs []error
	for _, c := range all {
		errs = append(errs, n.cfg.Registry.Register(c))
	}
	return errors.Join(errs...)
}

// A raftState shows raft's state as one gauge for each that there is.
type raftState struct{ node *Node }

var (
	raftStateDesc = prometheus.NewDesc("weir_raft_state", "Whether raft is in a state here: 1 for the present one.", []string{"state"}, nil)
	raftStates    = [...]string{"follower", "candidate", "leader", "shutdown"}
)

// Describe implements prometheus.Collector.
func (r *raftState) Describe(ch chan<- *prometheus.Desc) { ch <- raftStateDesc }

// Collect implements prometheus.Collector.
func (r *raftState) Collect(ch chan<- prometheus.Metric) {
	now := r.node.store.Status().State
	for _, state := range raftStates {
		v := 0.0
		if state == now {
			v = 1
		}
		ch <- prometheus.MustNewConstMetric(raftStateDesc, prometheus.GaugeValue, v, state)
	}
}
