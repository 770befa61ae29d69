// Package messaging puts mails into the Kafka topic that postbus reads.
package messaging

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

const (
	PriorityHigh   = "high"
	PriorityNormal = "normal"
	PriorityLow    = "low"
)

type EmailEvent struct {
	Type    string       `json:"type"` // password_reset, welcome, etc.
	Message EmailMessage `json:"message"`
}

type EmailMessage struct {
	ID         string                 `json:"id"`
	From       string                 `json:"from"`
	To         string                 `json:"to"`
	Subject    string                 `json:"subject"`
	Template   string                 `json:"template"`
	Data       map[string]interface{} `json:"data"`
	Priority   string                 `json:"priority"` // high, normal, low
	Timestamp  time.Time              `json:"timestamp"`
	RetryCount int                    `json:"retry_count"`
	MaxRetries int                    `json:"max_retries"`
	Status     string                 `json:"status"` // pending, sent, failed
}

type Producer struct {
	writer *kafka.Writer
}

// NewProducer does not connect yet. brokers: "host:port,host:port".
func NewProducer(brokers, topic string) *Producer {
	return &Producer{writer: &kafka.Writer{
		Addr:         kafka.TCP(strings.Split(brokers, ",")...),
		Topic:        topic,
		Balancer:     kafka.Murmur2Balancer{}, // the one of Java and of postbus
		RequiredAcks: kafka.RequireAll,        // kept on all in-sync replicas
		BatchTimeout: 5 * time.Millisecond,    // the default makes each SendEmail wait for a second
	}}
}

func (p *Producer) Close() error { return p.writer.Close() }

// SendEmail returns the mail's id when Kafka has it: from then on it is not lost. Does not wait for the mail to be sent.
func (p *Producer) SendEmail(ctx context.Context, from, to, subject, template string, data map[string]interface{},
	priority string) (string, error) {
	id := newID()
	value, err := json.Marshal(EmailEvent{
		Type: strings.ReplaceAll(template, "-", "_"),
		Message: EmailMessage{
			ID: id, From: from, To: to, Subject: subject, Template: template, Data: data, Priority: priority,
			Timestamp: time.Now().UTC(), MaxRetries: 3, Status: "pending",
		},
	})
	if err != nil {
		return "", err
	}
	return id, p.writer.WriteMessages(ctx, kafka.Message{Key: []byte(id), Value: value})
}

func newID() string {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		panic(err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562, version 4
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
