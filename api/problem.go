package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/weir-io/weir/limiter"
	"github.com/weir-io/weir/policy"
)

// retryAfter is how long a client does well to wait for a node that starts, sheds or has
// no quorum, in seconds.
const retryAfter = "1"

// A problem is an error over HTTP, as RFC 9457 has it.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Field  string `json:"field,omitempty"`
}

var httpStatus = map[limiter.Code]int{
	limiter.InvalidArgument: http.StatusBadRequest, limiter.DeadlineExceeded: http.StatusGatewayTimeout,
	limiter.NotFound: http.StatusNotFound, codeTooLarge: http.StatusRequestEntityTooLarge, codeStale: http.StatusConflict,
	codeUnimplemented: http.StatusNotImplemented, limiter.Internal: http.StatusInternalServerError,
	limiter.Shed: http.StatusServiceUnavailable,
}

// writeError answers with an error.
func writeError(w http.ResponseWriter, e *limiter.Error) {
	status, ok := httpStatus[e.Code]
	if !ok {
		status = http.StatusInternalServerError
	}
	writeProblem(w, status, e.Message, e.Field)
}

func writeProblem(w http.ResponseWriter, status int, detail, field string) {
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	writeJSON(w, status, "application/problem+json", problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Field: field})
}

func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	body, err := json.Marshal(v)
	if err != nil { // of a type that has no JSON
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client is gone: nobody to tell
}

// inJSON names the field of an error as JSON has it, where attributes are an object.
func inJSON(e *limiter.Error, attributes []policy.Attribute) *limiter.Error {
	var i int
	if _, err := fmt.Sscanf(e.Field, "attributes[%d]", &i); err != nil || i >= len(attributes) {
		return e
	}
	named := *e
	named.Field = "attributes"
	if strings.HasSuffix(e.Field, ".value") {
		named.Field += "." + attributes[i].Key
	}
	return &named
}

// readAll reads a body of at most limit bytes, appending it to b.
func readAll(w http.ResponseWriter, r *http.Request, limit int64, b []byte) ([]byte, *limiter.Error) {
	body := http.MaxBytesReader(w, r.Body, limit)
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return b, nil
		default:
			if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
				return b, &limiter.Error{Code: codeTooLarge, Message: fmt.Sprintf("the body is larger than %d bytes, the most that is taken here", limit)}
			}
			return b, &limiter.Error{Code: limiter.InvalidArgument, Message: "the body did not come in whole: " + err.Error()}
		}
	}
}
