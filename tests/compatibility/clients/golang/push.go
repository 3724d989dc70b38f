// client_golang, step by step; says what came of each. See main.rs.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"
	"github.com/prometheus/common/expfmt"
)

var (
	url, user, password, ca, certificate = os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	client                               = &http.Client{}
)

// to is a pusher of a job, with grouping labels in pairs.
func to(job string, grouping ...string) *push.Pusher {
	pusher := push.New(url, job).Client(client)
	if user != "" {
		pusher.BasicAuth(user, password)
	}
	for i := 0; i < len(grouping); i += 2 {
		pusher.Grouping(grouping[i], grouping[i+1])
	}
	return pusher
}

func step(name string, err error) {
	outcome := "ok"
	if err != nil {
		outcome = strings.Join(strings.Fields(err.Error()), " ")
	}
	fmt.Printf("%s: %s\n", name, outcome)
}

func gauge(name string, value float64) prometheus.Collector {
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: "Help of " + name + "."})
	gauge.Set(value)
	return gauge
}

// exemplary has exemplars of a fixed time: those of a live metric would say when this ran.
type exemplary struct{}

func (exemplary) Describe(chan<- *prometheus.Desc) {}

func (exemplary) Collect(metrics chan<- prometheus.Metric) {
	at := prometheus.Exemplar{Value: 0.7, Labels: prometheus.Labels{"trace": "t1"}, Timestamp: time.Unix(1700000000, 5)}
	desc := prometheus.NewDesc("exemplary_total", "With an exemplar.", nil, nil)
	counter := prometheus.MustNewConstMetric(desc, prometheus.CounterValue, 2)
	metrics <- prometheus.MustNewMetricWithExemplars(counter, at)
	desc = prometheus.NewDesc("exemplary_seconds", "With an exemplar.", nil, nil)
	histogram := prometheus.MustNewConstHistogram(desc, 4, 2.5, map[float64]uint64{0.5: 1, 1: 3})
	metrics <- prometheus.MustNewMetricWithExemplars(histogram, at)
}

// The places of two among the types.
const NATIVE, BOTH = 6, 7

func types() []prometheus.Collector {
	help := "Jobs, \"quoted\\\nand broken."
	jobs := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "jobs_total", Help: help}, []string{"kind"})
	jobs.WithLabelValues("a\"b\\c\n").Add(3)
	level := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "level", Help: "Level."}, []string{"of"})
	for _, value := range []float64{1e9, 1e-7, math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), 1e21} {
		level.WithLabelValues(fmt.Sprint(value)).Set(value)
	}
	untyped := prometheus.NewUntypedFunc(prometheus.UntypedOpts{Name: "untyped", Help: "Untyped."}, func() float64 { return 4 })
	took := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "took_seconds", Help: "Time.", Buckets: []float64{0.1, 1}})
	took.Observe(0.5)
	objectives := map[float64]float64{0.5: 0.05, 0.9: 0.01}
	size := prometheus.NewSummary(prometheus.SummaryOpts{Name: "size_bytes", Help: "Bytes.", Objectives: objectives})
	size.Observe(7)
	idle := prometheus.NewSummary(prometheus.SummaryOpts{Name: "idle_bytes", Help: "Bytes.", Objectives: objectives})
	native := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "native_seconds", Help: "Time.", NativeHistogramBucketFactor: 1.1})
	both := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "both_seconds", Help: "Time.", Buckets: []float64{0.1, 1}, NativeHistogramBucketFactor: 2,
	})
	for _, value := range []float64{-3, -0.2, 0, 0.01, 0.5, 0.5, 20, 4000} {
		native.Observe(value)
		both.Observe(value)
	}
	return []prometheus.Collector{jobs, level, untyped, took, size, idle, native, both, exemplary{}}
}

func main() {
	if ca != "" {
		config := &tls.Config{RootCAs: x509.NewCertPool()}
		pem, err := os.ReadFile(ca)
		check(err)
		config.RootCAs.AppendCertsFromPEM(pem)
		pair, err := tls.LoadX509KeyPair(certificate, certificate)
		check(err)
		config.Certificates = []tls.Certificate{pair}
		// As the default transport does where nothing of its TLS is set.
		client.Transport = &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	}
	if os.Getenv("STEPS") == "ttl" {
		step("label", to("label", "__ttl__", "2h").Collector(gauge("of", 1)).Push())
		step("gauge", to("gauge").Collector(gauge("push_ttl_seconds", 7200)).Push())
		step("malformed", to("malformed", "__ttl__", "soon").Collector(gauge("of", 1)).Push())
		return
	}
	all, texts := to("types", "instance", "i", "zone", "z"), to("text").Format(expfmt.FmtText)
	for number, collector := range types() {
		all.Collector(collector)
		// In text a native histogram is a classic one, and a family is one or the other everywhere.
		if number != NATIVE && number != BOTH {
			texts.Collector(collector)
		}
	}
	step("types", all.Push())
	step("text", texts.Push())
	values := []string{"/var/tmp", "", "ü€𝄞", "a=b&c", "100%", "\"\\", "/", "a/b/", "a b+c", "..", "a?b#c", "a\nb"}
	for number, value := range values {
		step(fmt.Sprint("value ", number), to("values", "value", value).Collector(gauge("of", float64(number))).Push())
	}
	step("job", to("a/b").Collector(gauge("of", 1)).Push())
	step("two", to("added").Collector(gauge("first", 1)).Collector(gauge("second", 2)).Push())
	step("add", to("added").Collector(gauge("second", 3)).Add())
	step("more", to("replaced").Collector(gauge("first", 4)).Collector(gauge("second", 5)).Push())
	step("less", to("replaced").Collector(gauge("first", 6)).Push())
	step("push", to("gone", "path", "/gone").Collector(gauge("first", 7)).Push())
	step("delete", to("gone", "path", "/gone").Delete())
	step("delete none", to("never").Delete())
	step("reserved", to("reserved", "__x", "y").Collector(gauge("first", 8)).Push())
	conflict := prometheus.NewSummary(prometheus.SummaryOpts{Name: "first", Help: "Help of first."})
	step("conflict", to("conflict").Collector(conflict).Push())
	// A delete is only queued when it is answered; what is pushed after it is applied after it.
	step("last", to("last").Collector(gauge("first", 9)).Push())
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
