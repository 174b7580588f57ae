package traces

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc/credentials/insecure"
)

// Exporters.
const (
	OTLP = "otlp"
	File = "file"
)

const (
	// endpointDefault is where a collector on this machine listens for OTLP over gRPC.
	endpointDefault = "http://127.0.0.1:4317"
	// portHTTP is where collectors listen for OTLP over HTTP, and pathHTTP what they take traces at, unless
	// they were told otherwise: OTLP's specification, "OTLP/HTTP Request".
	portHTTP, pathHTTP = "4318", "/v1/traces"
	// fileDefault is where traces go without a name for the file.
	fileDefault = "traces.json"

	// retryFirst is the pause after a collector's first refusal for the moment, retryMax what pauses grow to;
	// retryTime bounds all attempts together. They are the SDK's own.
	retryFirst = 5 * time.Second
	retryMax   = 30 * time.Second
	retryTime  = time.Minute
)

// way is how traces leave.
type way struct {
	to   string // a URL or a file
	http bool   // OTLP over HTTP rather than gRPC
	// plain is for a URL without TLS. Certificates in the environment, which may be there for other programs,
	// are none for it.
	plain bool
}

// findWay is the way that an exporter and an endpoint, which may be empty, stand for. A URL with a path means
// HTTP, since gRPC has none; so does the port that HTTP has for itself.
func findWay(exporter, endpoint string) (way, error) {
	switch exporter {
	case File:
		return way{to: cmp.Or(endpoint, fileDefault)}, nil
	case OTLP:
		endpoint = cmp.Or(endpoint, endpointDefault)
		u, err := url.Parse(endpoint)
		plain := err == nil && u.Scheme == "http"
		switch {
		case err != nil || u.Host == "" || !plain && u.Scheme != "https" || u.User != nil:
			// What is no URL may hold a password all the same, and is not repeated.
			return way{}, errors.New("send traces to a collector: want http://HOST:PORT for gRPC, or " +
				"http://HOST:PORT/PATH for HTTP, or https")
		case u.Path != "" && u.Path != "/":
			return way{to: endpoint, http: true, plain: plain}, nil
		case u.Port() == portHTTP:
			u.Path = pathHTTP
			return way{to: u.String(), http: true, plain: plain}, nil
		}
		return way{to: endpoint, plain: plain}, nil
	}
	return way{}, fmt.Errorf("open the exporter of traces: there is none named %q", exporter)
}

// Destination says where traces go and how.
func Destination(exporter, endpoint string) (string, error) {
	w, err := findWay(exporter, endpoint)
	switch {
	case err != nil:
		return "", err
	case exporter == File:
		return "the file " + w.to, nil
	case w.http:
		return w.to + ", OTLP over HTTP", nil
	}
	return w.to + ", OTLP over gRPC", nil
}

// exporter opens the way out. The SDK takes of the environment what our configuration has no key for:
// headers, compression, and certificates for https.
func (t *Traces) exporter(ctx context.Context) (sdktrace.SpanExporter, error) {
	w, err := findWay(t.config.Exporter, t.config.Endpoint)
	if err != nil {
		return nil, err
	}
	if t.config.Exporter == File {
		return t.openFile(w.to)
	}
	var exporter sdktrace.SpanExporter
	if w.http {
		exporter, err = t.overHTTP(ctx, w)
	} else {
		exporter, err = t.overGRPC(ctx, w)
	}
	if err != nil {
		return nil, fmt.Errorf("send traces to %q: %w", w.to, err)
	}
	return exporter, nil
}

func (t *Traces) overHTTP(ctx context.Context, w way) (sdktrace.SpanExporter, error) {
	options := []otlptracehttp.Option{otlptracehttp.WithEndpointURL(w.to),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: t.retryFirst,
			MaxInterval: retryMax, MaxElapsedTime: retryTime})}
	if w.plain {
		options = append(options, otlptracehttp.WithTLSClientConfig(nil))
	}
	return otlptracehttp.New(ctx, options...)
}

func (t *Traces) overGRPC(ctx context.Context, w way) (sdktrace.SpanExporter, error) {
	options := []otlptracegrpc.Option{otlptracegrpc.WithEndpointURL(w.to),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: true, InitialInterval: t.retryFirst,
			MaxInterval: retryMax, MaxElapsedTime: retryTime})}
	if w.plain {
		options = append(options, otlptracegrpc.WithTLSCredentials(insecure.NewCredentials()))
	}
	return otlptracegrpc.New(ctx, options...)
}

// openFile is an exporter that appends JSON to a file.
func (t *Traces) openFile(name string) (sdktrace.SpanExporter, error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open the file of traces: %w; traces.endpoint names another", err)
	}
	exporter, err := stdouttrace.New(stdouttrace.WithWriter(file))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write traces: %w", err), file.Close())
	}
	t.file = file
	return exporter, nil
}
