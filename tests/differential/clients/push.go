// Pushes with client_golang. See clients.rs.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"log"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"
)

func main() {
	url, user, password, ca := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	client := &http.Client{}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		check(err)
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	}
	jobs := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "client_jobs", Help: "Jobs."}, []string{"kind"})
	jobs.WithLabelValues("a\"b\\c\n").Add(3)
	size := prometheus.NewGauge(prometheus.GaugeOpts{Name: "client_size", Help: "Size."})
	size.Set(1e9)
	seconds := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "client_seconds", Help: "Time.", Buckets: []float64{0.1, 1}})
	seconds.Observe(0.5)
	bytes := prometheus.NewSummary(prometheus.SummaryOpts{Name: "client_bytes", Help: "Bytes.", Objectives: map[float64]float64{0.5: 0.05}})
	bytes.Observe(7)
	to := func(job string) *push.Pusher {
		pusher := push.New(url, job).Client(client)
		if user != "" {
			pusher = pusher.BasicAuth(user, password)
		}
		return pusher
	}
	for _, job := range []string{"golang", "a/b"} {
		key := func() *push.Pusher {
			return to(job).Grouping("instance", "i").Grouping("path", "/var/tmp").Grouping("empty", "").Grouping("text", "a b ü")
		}
		check(key().Collector(jobs).Collector(size).Collector(seconds).Collector(bytes).Push())
		size.Set(2)
		check(key().Collector(size).Add())
	}
	check(to("gone").Collector(jobs).Push())
	check(to("gone").Delete())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
