// cli/preview.h - the site `postbus render --serve` shows: the templates, each as HTML and text at desktop and phone
// width, with its sample data to be edited. Reads the templates again when a file has changed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "api/http_server.h"
#include "host/config.h"
#include "host/renderer.h"

namespace postbus {

// | GET /                      | the page                                                                      |
// | GET /templates             | {"stamp","templates":[…]} or {"stamp","error"}; the page asks again and again |
// | POST /render?template=NAME | body: data, empty = the sample; {"data","subject","text","html"} or {"data","error"} |
// One thread. `config` outlives it.
class Preview {
 public:
  Preview(const Config& config, QueueLog log);

  HttpResponse Answer(const HttpRequest& request);

 private:
  void ReadAgainWhereChanged();
  std::string TemplatesJson();
  std::string RenderJson(std::string_view name, std::string data);

  const Config& config_;
  const QueueLog log_;
  const std::string directory_;
  uint64_t stamp_ = 0;
  std::unique_ptr<Renderer> renderer_;  // null: error_ says why
  std::string error_;
  RenderedMail rendered_;
};

// The page of GET /: one file, nothing is fetched from elsewhere.
extern const std::string_view kPreviewPage;

}  // namespace postbus
