package cluster

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-io/weir/ring"
)

func sinceMicros(t time.Time) int64 { return time.Since(t).Microseconds() }

// metrics are the cluster's metrics. What stands in the node already is read when it is
// asked for; labels of peers are node ids, and go with them.
type metrics struct {
	node          *Node
	batchItems    prometheus.Histogram
	refundsUnsure prometheus.Counter

	queueItems, breakerState               *prometheus.Desc
	epoch, members, buckets, bytes, rights *prometheus.Desc
}

var _ prometheus.Collector = (*metrics)(nil)

func newMetrics(n *Node) *metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &metrics{
		node: n,
		batchItems: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "weir_peer_batch_items", Help: "Items of the frames sent to peers.",
			Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000},
		}),
		refundsUnsure: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "weir_refunds_unsure_total",
			Help: "Parts of refused requests that an owner had taken and did not confirm to have given back: too little may be admitted.",
		}),
		queueItems:   desc("weir_peer_queue_items", "Charges that wait to be sent to a peer.", "peer"),
		breakerState: desc("weir_peer_breaker_state", "Whether the circuit breaker of a peer is open: 0 closed, 1 open.", "peer"),
		epoch:        desc("weir_table_epoch", "Epoch of the newest applied table."),
		members:      desc("weir_members", "Members in the table's list, by state.", "state"),
		buckets:      desc("weir_buckets", "Buckets of the rows this node owns."),
		bytes:        desc("weir_bucket_bytes", "Bytes of the memory for buckets, used or not."),
		rights:       desc("weir_right_buckets", "Buckets counted on this node's rights while owners were out of reach."),
	}
}

// frameSent counts a frame of so many items.
func (m *metrics) frameSent(items int) { m.batchItems.Observe(float64(items)) }

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	m.batchItems.Describe(ch)
	m.refundsUnsure.Describe(ch)
	for _, d := range []*prometheus.Desc{m.queueItems, m.breakerState, m.epoch, m.members, m.buckets, m.bytes, m.rights} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	m.batchItems.Collect(ch)
	m.refundsUnsure.Collect(ch)
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	n := m.node
	n.mu.Lock()
	peers := n.peers
	n.mu.Unlock()
	for id, p := range peers {
		open := 0.0
		if p.breaker.isOpen() {
			open = 1
		}
		gauge(m.queueItems, float64(p.out.size()), id)
		gauge(m.breakerState, open, id)
	}
	t := n.Table()
	states := map[ring.MemberState]int{}
	for i := range t.Members {
		states[t.Members[i].State]++
	}
	for state, name := range map[ring.MemberState]string{ring.Up: "up", ring.Silent: "silent", ring.Leaving: "leaving"} {
		gauge(m.members, float64(states[state]), name)
	}
	usage, rights := n.store.Usage(), n.rights.Usage()
	gauge(m.epoch, float64(t.Epoch))
	gauge(m.buckets, float64(usage.Buckets))
	gauge(m.bytes, float64(usage.Bytes+rights.Bytes))
	gauge(m.rights, float64(rights.Buckets))
}
