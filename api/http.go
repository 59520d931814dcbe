package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weir-io/weir/limiter"
)

// HTTPConfig is what the HTTP door is made of.
type HTTPConfig struct {
	Limiter *limiter.Limiter
	Admin   *Admin // nil = no /v1/policies
	// Ready returns nil while the node is ready, else what is missing: /readyz shows it.
	// nil = always ready.
	Ready func() error
	// Answers returns nil once checks can be answered: until then they are 503. nil = Ready.
	Answers func() error
	Metrics prometheus.Gatherer // what /metrics shows; nil = no /metrics
	// Insecure says that listeners beyond loopback are not encrypted; /healthz shows it.
	Insecure bool
	Logger   *slog.Logger // nil discards
}

// HTTP is the HTTP door: checks, policies, health and metrics.
type HTTP struct {
	cfg     HTTPConfig
	gate    gate
	server  *http.Server
	running sync.RWMutex // read-locked by every request; locked for good when the door is shut
	shut    sync.Once    // locks it
}

// Limits of a connection.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 15 * time.Second
	writeTime     = 30 * time.Second
	idleTimeout   = 2 * time.Minute
)

// NewHTTP returns the HTTP door. Serve opens it.
func NewHTTP(cfg HTTPConfig) *HTTP {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	h := &HTTP{cfg: cfg, gate: newGate(cfg.Answers, cfg.Ready)}
	h.server = &http.Server{
		Handler:           h.whileRunning(h.routes()),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTime, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:       slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	return h
}

func (h *HTTP) routes() http.Handler {
	mux := http.NewServeMux()
	route := func(path string, methods map[string]http.HandlerFunc) {
		var allowed []string
		for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut} {
			if methods[m] != nil {
				mux.HandleFunc(m+" "+path, methods[m])
				allowed = append(allowed, m)
			}
		}
		allow := strings.Join(allowed, ", ")
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", allow)
			writeProblem(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s does not take %s: use %s", path, r.Method, allow), "")
		})
	}
	route("/v1/check", map[string]http.HandlerFunc{http.MethodPost: h.check})
	if h.cfg.Admin != nil {
		route("/v1/policies", map[string]http.HandlerFunc{http.MethodGet: h.listPolicies})
		route("/v1/policies/{domain}", map[string]http.HandlerFunc{http.MethodGet: h.getPolicies, http.MethodPut: h.putPolicies})
	}
	route("/healthz", map[string]http.HandlerFunc{http.MethodGet: h.healthz})
	route("/readyz", map[string]http.HandlerFunc{http.MethodGet: h.readyz})
	if h.cfg.Metrics != nil {
		metrics := promhttp.HandlerFor(h.cfg.Metrics, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(h.cfg.Logger.Handler(), slog.LevelWarn)})
		route("/metrics", map[string]http.HandlerFunc{http.MethodGet: metrics.ServeHTTP})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, http.StatusNotFound, "there is nothing at "+r.URL.Path+": try /v1/check, /v1/policies, /metrics, /healthz or /readyz", "")
	})
	return mux
}

// whileRunning keeps count of the requests in the door.
func (h *HTTP) whileRunning(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.running.TryRLock() {
			writeError(w, &limiter.Error{Code: limiter.Shed, Message: "the node is stopping: ask another"})
			return
		}
		defer h.running.RUnlock()
		next.ServeHTTP(w, r)
	})
}

// Serve answers requests that come in through l until Shutdown, and closes l.
func (h *HTTP) Serve(l net.Listener) error {
	if err := h.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP at %s: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown stops taking requests and returns when those that came in are answered. What
// is in flight when ctx ends is cut short.
func (h *HTTP) Shutdown(ctx context.Context) error {
	err := h.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("requests in flight were cut short: %w", err), h.server.Close())
	}
	h.shut.Do(h.running.Lock)
	return err
}

func (h *HTTP) check(w http.ResponseWriter, r *http.Request) {
	f := newFrame(checkMessage)
	defer f.release()
	if err := f.readBody(w, r); err != nil {
		writeError(w, err)
		return
	}
	if err := f.decodeJSON(); err != nil {
		writeError(w, err)
		return
	}
	if err := h.gate.check(); err != nil {
		writeError(w, err)
		return
	}
	h.cfg.Limiter.Check(r.Context(), &f.batch)
	v := &f.batch.Verdicts[0]
	if v.Err != nil {
		writeError(w, inJSON(v.Err, f.attributes))
		return
	}
	out := answers.Get(0)
	defer answers.Put(out)
	*out = append(appendJSONVerdict((*out)[:0], v, f.batch.Version), '\n')
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(*out) // the client is gone: nobody to tell
}

// readBody reads the body into f.in.
func (f *frame) readBody(w http.ResponseWriter, r *http.Request) *limiter.Error {
	body, err := readAll(w, r, maxLimiterMessage, f.in[:0])
	f.in = body
	return err
}

func (h *HTTP) healthz(w http.ResponseWriter, _ *http.Request) {
	text := "ok\n"
	if h.cfg.Insecure {
		text = "ok, but insecure: what listens beyond loopback is not encrypted\n"
	}
	writeText(w, http.StatusOK, text)
}

func (h *HTTP) readyz(w http.ResponseWriter, _ *http.Request) {
	if h.cfg.Ready != nil {
		if err := h.cfg.Ready(); err != nil {
			w.Header().Set("Retry-After", retryAfter)
			writeText(w, http.StatusServiceUnavailable, err.Error()+"\n")
			return
		}
	}
	writeText(w, http.StatusOK, "ready\n")
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the client is gone: nobody to tell
}
