#include "postbus/http_transport.hpp"

#include <curl/curl.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace postbus::sdk {
namespace {

constexpr size_t kMaxKeptBody = 256 << 10;
constexpr size_t kMaxHeaders = 100;
constexpr size_t kMaxText = 512;
// Below what servers commonly close idle connections after (Node: 5 s): a request written into a connection that is
// just being closed ends IN_DOUBT.
constexpr long kMaxIdleSeconds = 4;
// How often deadlines are looked at while there is a mail; cancels, answers and new mails do not wait for it.
constexpr int kTickMs = 250;
constexpr int kIdleMs = 60'000;
constexpr int64_t kTransfersWaiting = 2;  // mails taken: for this many times the requests that can be under way

using EasyPtr = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;
using MultiPtr = std::unique_ptr<CURLM, decltype(&curl_multi_cleanup)>;
using ListPtr = std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)>;
using UrlPtr = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

std::string UrlPart(const UrlPtr& url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url.get(), part, &text, 0) != CURLUE_OK) return {};
  std::string copy(text);
  curl_free(text);
  return copy;
}

UrlPtr ParseUrl(const std::string& text, const char* what) {
  UrlPtr url(curl_url(), &curl_url_cleanup);
  if (!url || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) {
    throw std::runtime_error(std::string(what) + ": not a URL; write scheme://host[:port]");
  }
  return url;
}

void CheckReadable(const std::string& path) {
  if (!path.empty() && ::access(path.c_str(), R_OK) != 0) {
    throw std::runtime_error("ca_file: cannot read " + path + ": " + std::strerror(errno));
  }
}

// Without addresses and control characters: what providers write goes into logs.
std::string Clean(std::string_view text) {
  std::string clean;
  for (size_t i = 0; i < text.size() && clean.size() < kMaxText;) {
    size_t end = i;
    while (end < text.size() && std::string_view(" \t\r\n\"'<>(),;:[]{}").find(text[end]) == std::string_view::npos)
      ++end;
    const std::string_view word = text.substr(i, end - i);
    if (word.find('@') != std::string_view::npos) {
      clean += "<address>";
    } else {
      for (const char c : word) clean += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
    }
    if (end < text.size()) clean += static_cast<unsigned char>(text[end]) < 0x20 ? ' ' : text[end];
    i = end + 1;
  }
  if (clean.size() > kMaxText) {
    size_t keep = kMaxText;
    while (keep > 0 && (static_cast<unsigned char>(clean[keep]) & 0xC0) == 0x80) --keep;
    clean.resize(keep);
  }
  return clean;
}

bool IsTlsError(CURLcode code) {
  switch (code) {
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_USE_SSL_FAILED:
      return true;
    default:
      return false;
  }
}

bool IsConnectError(CURLcode code) {
  return code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY || code == CURLE_COULDNT_CONNECT ||
         code == CURLE_PROXY || IsTlsError(code);
}

}  // namespace

class HttpTransport::Worker {
 public:
  Worker(HttpTransport& owner, Host host, const Options& options, HttpSettings settings)
      : owner_(owner),
        host_(host),
        settings_(std::move(settings)),
        max_requests_(static_cast<size_t>(options.Integer("max_requests"))),
        capacity_(max_requests_ * settings_.max_batch * kTransfersWaiting),
        timeout_ms_(static_cast<long>(options.Duration("timeout").count())),
        connect_timeout_ms_(static_cast<long>(options.Duration("connect_timeout").count())),
        ca_file_(options.Path("ca_file")),
        proxy_(options.String("proxy")) {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) throw std::runtime_error("libcurl cannot be initialised");
    if (const std::string other = options.String("base_url"); !other.empty()) settings_.base_url = other;
    while (settings_.base_url.ends_with('/')) settings_.base_url.pop_back();
    CheckBaseUrl();
    CheckReadable(ca_file_);
    if (!proxy_.empty()) ParseUrl(proxy_, "proxy");
    MakeMulti();
    thread_ = std::thread([this] { Run(); });
  }

  ~Worker() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    curl_multi_wakeup(multi_.get());
    thread_.join();
    for (const auto& transfer : transfers_) transfer->easy.reset();  // before the multi handle they were in
  }

  const std::string& authority() const { return authority_; }
  const Host& host() const { return host_; }

  bool Probe(int64_t deadline_ms, std::string& report) {
    const EasyPtr easy = MakeEasy();
    std::array<char, CURL_ERROR_SIZE> error{};
    const int64_t left_ms = std::max<int64_t>(deadline_ms - host_.NowMs(), 1);
    curl_easy_setopt(easy.get(), CURLOPT_URL, settings_.base_url.c_str());
    curl_easy_setopt(easy.get(), CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(easy.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(std::min<int64_t>(left_ms, timeout_ms_)));
    curl_easy_setopt(easy.get(), CURLOPT_ERRORBUFFER, error.data());
    const CURLcode code = curl_easy_perform(easy.get());
    if (code != CURLE_OK) report = Reason(code, error.data());
    return code == CURLE_OK;
  }

  uint32_t Submit(std::span<const postbus_mail* const> mails) {
    size_t taken = 0;
    {
      const std::lock_guard lock(mutex_);
      taken = std::min(mails.size(), capacity_ - outstanding_);
      size_t queued = 0;
      try {
        for (; queued < taken; ++queued) queue_.push_back({mails[queued]});
      } catch (...) {  // Transport::Submit: all or none
        queue_.resize(queue_.size() - queued);
        throw;
      }
      outstanding_ += taken;
      offered_more_ = offered_more_ || taken < mails.size();
    }
    curl_multi_wakeup(multi_.get());
    return static_cast<uint32_t>(taken);
  }

  void Cancel(std::span<const uint64_t> tokens) {
    {
      const std::lock_guard lock(mutex_);
      cancelled_.insert(cancelled_.end(), tokens.begin(), tokens.end());
    }
    curl_multi_wakeup(multi_.get());
  }

  void Quiesce(int64_t deadline_ms) {
    {
      const std::lock_guard lock(mutex_);
      quiesce_deadline_ms_ = deadline_ms;
    }
    curl_multi_wakeup(multi_.get());
  }

  uint32_t Outstanding() const {
    const std::lock_guard lock(mutex_);
    return static_cast<uint32_t>(outstanding_);
  }

 private:
  struct Attempt {
    const postbus_mail* mail = nullptr;
    bool alone = false;                // not in one request with others
    const char* taken_back = nullptr;  // why it must not be sent
  };

  // One request under way, or resting until the next. Its curl handle is made anew after a failure.
  struct Transfer {
    Worker* worker = nullptr;
    EasyPtr easy{nullptr, &curl_easy_cleanup};
    ListPtr headers{nullptr, &curl_slist_free_all};
    std::vector<Attempt> mails;
    std::vector<HttpRequest> requests;  // one a mail, as Build made them
    HttpRequest joined;
    HttpRequest* request = nullptr;  // what is sent: requests[0] or joined
    HttpResponse response;
    size_t offset = 0;       // of the body: what curl has taken
    bool connected = false;  // at least once
    bool permitted = false;  // the point of no return is behind it
    std::array<char, CURL_ERROR_SIZE> error{};
  };

  void CheckBaseUrl() {
    const UrlPtr url = ParseUrl(settings_.base_url, "base_url");
    const std::string scheme = UrlPart(url, CURLUPART_SCHEME);
    const std::string host = UrlPart(url, CURLUPART_HOST);
    const std::string port = UrlPart(url, CURLUPART_PORT);
    const bool is_local = host == "localhost" || host == "[::1]" || host.starts_with("127.");
    if (scheme != "https" && !(scheme == "http" && is_local)) {
      throw std::runtime_error("base_url: must begin with https://; http:// goes to this machine only");
    }
    authority_ = port.empty() ? host : host + ":" + port;
  }

  void MakeMulti() {
    multi_ = MultiPtr(curl_multi_init(), &curl_multi_cleanup);
    if (!multi_) throw std::runtime_error("libcurl cannot be initialised");
    curl_multi_setopt(multi_.get(), CURLMOPT_MAXCONNECTS, static_cast<long>(max_requests_));
    curl_multi_setopt(multi_.get(), CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
  }

  EasyPtr MakeEasy() const {
    EasyPtr easy(curl_easy_init(), &curl_easy_cleanup);
    if (!easy) throw std::bad_alloc();
    CURL* const curl = easy.get();
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    // One request a connection at a time: it is plain which bytes went where when one breaks.
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    curl_easy_setopt(curl, CURLOPT_PROXY_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
    if (!ca_file_.empty()) {
      for (const CURLoption option : {CURLOPT_CAINFO, CURLOPT_PROXY_CAINFO}) {
        curl_easy_setopt(curl, option, ca_file_.c_str());
      }
      for (const CURLoption option : {CURLOPT_CAPATH, CURLOPT_PROXY_CAPATH}) {
        curl_easy_setopt(curl, option, static_cast<const char*>(nullptr));
      }
    }
    curl_easy_setopt(curl, CURLOPT_PROXY, proxy_.c_str());  // "" also keeps https_proxy of the environment out
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "");
    curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, connect_timeout_ms_);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms_);
    curl_easy_setopt(curl, CURLOPT_MAXAGE_CONN, kMaxIdleSeconds);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "postbus/" POSTBUS_VERSION);
    return easy;
  }

  // --- the thread ---

  void Run() {
    // A server that goes away must not raise SIGPIPE, and the host's signals are not ours.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    while (TakeMails()) {
      // Returns at once where a request was started.
      curl_multi_poll(multi_.get(), nullptr, 0, idle_ ? kIdleMs : kTickMs, nullptr);
      int running = 0;
      curl_multi_perform(multi_.get(), &running);
      FinishTransfers();
      TakeBack();
    }
  }

  // Starts requests while there are mails and room. False: the end.
  bool TakeMails() {
    while (true) {
      Transfer* transfer = nullptr;
      {
        const std::lock_guard lock(mutex_);
        idle_ = outstanding_ == 0;
        if (stopping_) return false;
        if (queue_.empty() || active_.size() == max_requests_) return true;
        transfer = &Resting();
        do {
          transfer->mails.push_back(queue_.front());
          queue_.pop_front();
        } while (!queue_.empty() && transfer->mails.size() < settings_.max_batch && !transfer->mails.back().alone &&
                 !queue_.front().alone);
      }
      Start(*transfer);
    }
  }

  Transfer& Resting() {
    if (resting_.empty()) {
      transfers_.push_back(std::make_unique<Transfer>());
      transfers_.back()->worker = this;
      resting_.push_back(transfers_.back().get());
    }
    Transfer& transfer = *resting_.back();
    resting_.pop_back();
    return transfer;
  }

  void Rest(Transfer& transfer) {
    std::erase(active_, &transfer);
    transfer.mails.clear();
    resting_.push_back(&transfer);
  }

  void Start(Transfer& transfer) {
    transfer.requests.resize(std::max(transfer.requests.size(), transfer.mails.size()));
    size_t built = 0;
    size_t bytes = 0;
    std::vector<Attempt> mails;
    mails.swap(transfer.mails);
    for (size_t i = 0; i < mails.size(); ++i) {
      const postbus_mail& mail = *mails[i].mail;
      HttpRequest& request = transfer.requests[built];
      if (const std::optional<Outcome> ended = BuildInTime(mail, request)) {
        Complete(mail.token, *ended);
        continue;
      }
      bytes += request.body.size();
      if (built > 0 && bytes > settings_.max_batch_bytes) {
        PutBack(std::span(mails).subspan(i));
        break;
      }
      transfer.mails.push_back(mails[i]);
      ++built;
    }
    if (built == 0) {
      Rest(transfer);
      return;
    }
    transfer.request = &transfer.requests[0];
    if (built > 1) {
      transfer.request = &transfer.joined;
      Clear(transfer.joined);
      const std::string failure = JoinRequests(transfer);
      if (!failure.empty()) {
        EndUnsent(transfer, Outcome::ProviderFault("the transport plugin failed: " + failure));
        return;
      }
    }
    Perform(transfer);
  }

  // Empty, or why it cannot be.
  std::string JoinRequests(Transfer& transfer) {
    return Barrier(
        [&] {
          owner_.Join(std::span(transfer.requests).first(transfer.mails.size()), transfer.joined);
          return std::string();
        },
        [&](std::string_view what) {
          LogThrown(host_, "join", what);
          return std::string(what);
        });
  }

  static void Clear(HttpRequest& request) {
    request.path.clear();
    request.headers.clear();
    request.body.clear();
  }

  std::optional<Outcome> BuildInTime(const postbus_mail& mail, HttpRequest& request) {
    if (host_.NowMs() >= mail.deadline_ms) return Outcome::NotSent("its deadline passed in the transport's queue");
    Clear(request);
    const auto failed = [](std::string_view what) {
      return Outcome::ProviderFault("the transport plugin failed: " + std::string(what));
    };
    std::optional<Outcome> ended = Barrier([&] { return owner_.Build(mail, request); },
                                           [&](std::string_view what) -> std::optional<Outcome> {
                                             LogThrown(host_, "build", what);
                                             return failed(what);
                                           });
    if (ended) return ended;
    if (request.body.empty()) return failed("a request without a body");
    for (const std::string& header : request.headers) {
      if (header.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) {
        return failed("a line break in the header " + header.substr(0, header.find(':')) + "; check the options");
      }
    }
    return std::nullopt;
  }

  // Mails whose request did not go out go to the front: they keep their turn.
  void PutBack(std::span<const Attempt> mails) {
    const std::lock_guard lock(mutex_);
    for (size_t i = mails.size(); i-- > 0;) queue_.push_front(mails[i]);
  }

  void Perform(Transfer& transfer) {
    const bool is_new = !transfer.easy;
    if (is_new) transfer.easy = MakeEasy();
    CURL* const curl = transfer.easy.get();
    transfer.response.status = 0;
    transfer.response.headers.clear();
    transfer.response.body.clear();
    transfer.offset = 0;
    transfer.connected = false;
    transfer.permitted = false;
    transfer.error[0] = 0;
    curl_slist* list = curl_slist_append(nullptr, "Expect:");  // no round trip before a large body
    for (const std::string& header : transfer.request->headers) list = curl_slist_append(list, header.c_str());
    transfer.headers.reset(list);
    const std::string url = settings_.base_url + transfer.request->path;
    if (is_new) {
      curl_easy_setopt(curl, CURLOPT_PRIVATE, &transfer);
      curl_easy_setopt(curl, CURLOPT_POST, 1L);
      curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, transfer.error.data());
      curl_easy_setopt(curl, CURLOPT_READFUNCTION, &OnRead);
      curl_easy_setopt(curl, CURLOPT_READDATA, &transfer);
      curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &OnBody);
      curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
      curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &OnHeader);
      curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
      curl_easy_setopt(curl, CURLOPT_PREREQFUNCTION, &OnConnected);
      curl_easy_setopt(curl, CURLOPT_PREREQDATA, &transfer);
    }
    curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, transfer.headers.get());
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(transfer.request->body.size()));
    active_.push_back(&transfer);
    if (curl_multi_add_handle(multi_.get(), curl) != CURLM_OK)
      EndUnsent(transfer, Outcome::NotSent("libcurl does not take it"));
  }

  static int OnConnected(void* ctx, char*, char*, int, int) {
    Transfer& transfer = *static_cast<Transfer*>(ctx);
    // curl repeats a request when a kept connection died under it. It may, until the point of no return.
    if (transfer.permitted) return CURL_PREREQFUNC_ABORT;
    transfer.connected = true;
    return CURL_PREREQFUNC_OK;
  }

  // Called for the body when the connection is there and the headers are out.
  static size_t OnRead(char* to, size_t size, size_t n, void* ctx) {
    Transfer& transfer = *static_cast<Transfer*>(ctx);
    const bool permitted = transfer.permitted || Barrier([&] { return transfer.worker->AskPermission(transfer); },
                                                         [](std::string_view) { return false; });
    if (!permitted) return CURL_READFUNC_ABORT;
    const std::string& body = transfer.request->body;
    const size_t given = std::min(size * n, body.size() - transfer.offset);
    std::memcpy(to, body.data() + transfer.offset, given);
    transfer.offset += given;
    return given;
  }

  static size_t OnBody(char* from, size_t size, size_t n, void* ctx) {
    std::string& body = static_cast<Transfer*>(ctx)->response.body;
    return Barrier(
        [&] {
          body.append(from, std::min(size * n, kMaxKeptBody - body.size()));
          return size * n;
        },
        [](std::string_view) { return size_t{0}; });
  }

  static size_t OnHeader(char* from, size_t size, size_t n, void* ctx) {
    auto& headers = static_cast<Transfer*>(ctx)->response.headers;
    return Barrier(
        [&] {
          AddHeader({from, size * n}, headers);
          return size * n;
        },
        [](std::string_view) { return size_t{0}; });
  }

  static void AddHeader(std::string_view line, std::vector<std::pair<std::string, std::string>>& headers) {
    if (line.starts_with("HTTP/")) headers.clear();  // what came before was 1xx
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos || headers.size() >= kMaxHeaders) return;
    const size_t value = std::min(line.find_first_not_of(" \t", colon + 1), line.size());
    headers.emplace_back(line.substr(0, colon), line.substr(value));
  }

  // The point of no return: all mails of the request, or none.
  bool AskPermission(Transfer& transfer) {
    std::vector<uint64_t> tokens;
    for (const Attempt& mail : transfer.mails) tokens.push_back(mail.mail->token);
    std::vector<uint8_t> verdicts(tokens.size(), POSTBUS_ABORT);
    const int64_t now_ms = host_.NowMs();
    for (Attempt& mail : transfer.mails) {
      if (now_ms >= mail.mail->deadline_ms) mail.taken_back = "its deadline passed before the point of no return";
    }
    if (!IsTakenBack(transfer)) {
      host_.PermitSend(tokens, verdicts);
      for (size_t i = 0; i < verdicts.size(); ++i) {
        if (verdicts[i] != POSTBUS_GO) transfer.mails[i].taken_back = "the host did not permit it";
      }
    }
    transfer.permitted = !IsTakenBack(transfer);
    return transfer.permitted;
  }

  static bool IsTakenBack(const Transfer& transfer) {
    return std::any_of(transfer.mails.begin(), transfer.mails.end(),
                       [](const Attempt& mail) { return mail.taken_back != nullptr; });
  }

  void FinishTransfers() {
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      const CURLcode code = message->data.result;
      void* transfer = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
      Finish(*static_cast<Transfer*>(transfer), code);
    }
  }

  void Finish(Transfer& transfer, CURLcode code) {
    if (code == CURLE_OK) {
      long status = 0;
      curl_easy_getinfo(transfer.easy.get(), CURLINFO_RESPONSE_CODE, &status);
      transfer.response.status = static_cast<uint16_t>(status);
      curl_multi_remove_handle(multi_.get(), transfer.easy.get());
      End(transfer, VerdictsOf(transfer));
      return;
    }
    const std::string reason = Reason(code, transfer.error.data());
    if (transfer.permitted) {
      Discard(transfer);
      End(transfer, {Outcome::InDoubt("no answer: " + reason).At(POSTBUS_PHASE_REQUEST)});
    } else if (IsConnectError(code) || !transfer.connected) {
      EndUnsent(transfer,
                Outcome::ProviderFault(reason).At(IsTlsError(code) ? POSTBUS_PHASE_TLS : POSTBUS_PHASE_CONNECT));
    } else {
      EndUnsent(transfer, Outcome::NotSent("the connection died: " + reason).At(POSTBUS_PHASE_REQUEST));
    }
  }

  // One for each mail, or one for all, or none: each is to go again by itself.
  std::vector<Outcome> VerdictsOf(const Transfer& transfer) {
    std::vector<const postbus_mail*> mails;
    for (const Attempt& attempt : transfer.mails) mails.push_back(attempt.mail);
    std::vector<Outcome> outcomes = Barrier(
        [&] {
          return mails.size() == 1 ? std::vector{owner_.Verdict(*mails[0], transfer.response)}
                                   : owner_.Verdicts(mails, transfer.response);
        },
        [&](std::string_view what) {
          LogThrown(host_, "verdict", what);
          return std::vector{Outcome::InDoubt("the transport plugin failed: " + std::string(what))};
        });
    if (outcomes.size() > 1 && outcomes.size() != mails.size()) {
      return {Outcome::InDoubt("the answer does not have as many results as the request had mails")};
    }
    return outcomes;
  }

  static std::string Reason(CURLcode code, const char* detail) {
    std::string reason = detail[0] != 0 ? detail : curl_easy_strerror(code);
    if (code == CURLE_PEER_FAILED_VERIFICATION) reason += "; name your own CA's certificate in ca_file";
    return reason;
  }

  void Discard(Transfer& transfer) {
    if (!transfer.easy) return;
    curl_multi_remove_handle(multi_.get(), transfer.easy.get());
    transfer.easy.reset();
  }

  // Before the point of no return. Mails that were taken back are that; `outcome` is the others', unless the request
  // only failed because of those: then they come again.
  void EndUnsent(Transfer& transfer, const Outcome& outcome) {
    Discard(transfer);
    const std::vector<Attempt> mails = std::move(transfer.mails);
    const bool taken_back =
        std::any_of(mails.begin(), mails.end(), [](const Attempt& mail) { return mail.taken_back != nullptr; });
    Rest(transfer);
    std::vector<Attempt> again;
    for (const Attempt& mail : mails) {
      if (mail.taken_back != nullptr) {
        Complete(mail.mail->token, Outcome::NotSent(mail.taken_back));
      } else if (taken_back) {
        again.push_back(mail);
      } else {
        Complete(mail.mail->token, outcome);
      }
    }
    PutBack(again);
  }

  void End(Transfer& transfer, const std::vector<Outcome>& outcomes) {
    std::vector<Attempt> mails = std::move(transfer.mails);
    Rest(transfer);
    if (outcomes.empty()) {
      for (Attempt& attempt : mails) attempt.alone = true;
      PutBack(mails);
      return;
    }
    for (size_t i = 0; i < mails.size(); ++i) {
      Complete(mails[i].mail->token, outcomes[outcomes.size() == 1 ? 0 : i]);
    }
  }

  void Complete(uint64_t token, const Outcome& outcome) {
    Outcome clean = outcome;
    clean.text = Clean(outcome.text);
    for (RecipientOutcome& recipient : clean.recipients) recipient.text = Clean(recipient.text);
    host_.Complete(token, clean);
    bool tell = false;
    {
      const std::lock_guard lock(mutex_);
      --outstanding_;
      tell = outstanding_ <= capacity_ / 2 && std::exchange(offered_more_, false);  // half empty: more than one comes
    }
    if (tell) host_.Writable();
  }

  // Cancelled mails, passed deadlines, the end of quiescing.
  void TakeBack() {
    const int64_t now_ms = host_.NowMs();
    std::vector<Attempt> ended;
    std::vector<uint64_t> cancelled;
    bool closing = false;
    {
      const std::lock_guard lock(mutex_);
      cancelled.swap(cancelled_);
      closing = now_ms >= quiesce_deadline_ms_;
      if (!closing && cancelled.empty() && now_ms < next_tick_ms_) return;
      next_tick_ms_ = now_ms + kTickMs;
      std::erase_if(queue_, [&](Attempt& attempt) {
        attempt.taken_back = WhyTakenBack(*attempt.mail, cancelled, closing, now_ms);
        if (attempt.taken_back != nullptr) ended.push_back(attempt);
        return attempt.taken_back != nullptr;
      });
    }
    for (const Attempt& attempt : ended) Complete(attempt.mail->token, Outcome::NotSent(attempt.taken_back));
    for (Transfer* transfer : std::vector(active_)) {
      if (transfer->permitted) {
        if (!closing) continue;
        Discard(*transfer);
        End(*transfer, {Outcome::InDoubt("no answer before the transport was closed").At(POSTBUS_PHASE_REQUEST)});
        continue;
      }
      for (Attempt& mail : transfer->mails) mail.taken_back = WhyTakenBack(*mail.mail, cancelled, closing, now_ms);
      if (IsTakenBack(*transfer)) EndUnsent(*transfer, Outcome::NotSent("cancelled"));
    }
  }

  static const char* WhyTakenBack(const postbus_mail& mail, const std::vector<uint64_t>& cancelled, bool closing,
                                  int64_t now_ms) {
    if (std::find(cancelled.begin(), cancelled.end(), mail.token) != cancelled.end()) return "cancelled";
    if (closing) return "the transport is being closed";
    if (now_ms >= mail.deadline_ms) return "its deadline passed before the point of no return";
    return nullptr;
  }

  HttpTransport& owner_;
  const Host host_;
  HttpSettings settings_;
  const size_t max_requests_;
  const size_t capacity_;  // mails
  const long timeout_ms_;
  const long connect_timeout_ms_;
  const std::string ca_file_;
  const std::string proxy_;
  std::string authority_;

  // The thread's alone; of the multi handle others use curl_multi_wakeup only.
  MultiPtr multi_{nullptr, &curl_multi_cleanup};
  std::vector<std::unique_ptr<Transfer>> transfers_;
  std::vector<Transfer*> active_;
  std::vector<Transfer*> resting_;
  int64_t next_tick_ms_ = 0;
  bool idle_ = true;

  mutable std::mutex mutex_;  // guards all below
  std::deque<Attempt> queue_;
  std::vector<uint64_t> cancelled_;
  size_t outstanding_ = 0;
  int64_t quiesce_deadline_ms_ = INT64_MAX;
  bool offered_more_ = false;
  bool stopping_ = false;

  std::thread thread_;
};

HttpTransport::HttpTransport(Host host, const Options& options, HttpSettings settings)
    : worker_(std::make_unique<Worker>(*this, host, options, std::move(settings))) {}

HttpTransport::~HttpTransport() = default;

bool HttpTransport::Probe(int64_t deadline_ms, std::string& report) { return worker_->Probe(deadline_ms, report); }
uint32_t HttpTransport::Submit(std::span<const postbus_mail* const> mails) { return worker_->Submit(mails); }
void HttpTransport::Cancel(std::span<const uint64_t> tokens) { worker_->Cancel(tokens); }
void HttpTransport::Quiesce(int64_t deadline_ms) { worker_->Quiesce(deadline_ms); }
uint32_t HttpTransport::Outstanding() const { return worker_->Outstanding(); }

void HttpTransport::Join(std::span<const HttpRequest> /*requests*/, HttpRequest& /*request*/) {
  throw std::logic_error("max_batch is above 1, so Join and Verdicts must be overridden");
}
std::vector<Outcome> HttpTransport::Verdicts(std::span<const postbus_mail* const> mails, const HttpResponse& response) {
  return {Verdict(*mails[0], response)};
}

const std::string& HttpTransport::authority() const { return worker_->authority(); }
const Host& HttpTransport::host() const { return worker_->host(); }

}  // namespace postbus::sdk
