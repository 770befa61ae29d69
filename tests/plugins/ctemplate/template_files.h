// A directory of templates for one test, removed with it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "renderer.h"

namespace postbus::templates {

class TemplateFiles {
 public:
  TemplateFiles() {
    static std::atomic<int> number{0};
    directory_ = std::filesystem::temp_directory_path() /
                 ("postbus-templates-" + std::to_string(getpid()) + "-" + std::to_string(++number));
    std::filesystem::create_directories(directory_);
    directory_ = std::filesystem::canonical(directory_);
  }
  ~TemplateFiles() { std::filesystem::remove_all(directory_); }
  TemplateFiles(const TemplateFiles&) = delete;
  TemplateFiles& operator=(const TemplateFiles&) = delete;

  const std::filesystem::path& directory() const { return directory_; }

  // Writes a file, e.g. "welcome/html.tpl".
  TemplateFiles& Add(const std::string& file, std::string_view content) {
    const std::filesystem::path path = directory_ / file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return *this;
  }

  // The error of loading them, less the directory's path; "" if there is none.
  std::string Error() const {
    try {
      const TemplateSet set(directory_);
    } catch (const std::runtime_error& error) {
      std::string what = error.what();
      const std::string prefix = directory_.string() + "/";
      for (size_t at = what.find(prefix); at != std::string::npos; at = what.find(prefix))
        what.erase(at, prefix.size());
      return what;
    }
    return "";
  }

 private:
  std::filesystem::path directory_;
};

// A sink that keeps what it is given.
class StringSink {
 public:
  StringSink()
      : abi_{sizeof(postbus_sink), 0, this,
             [](void* ctx, const char* data, size_t n) { static_cast<StringSink*>(ctx)->text_.append(data, n); }} {}
  StringSink(const StringSink&) = delete;
  StringSink& operator=(const StringSink&) = delete;

  const postbus_sink* abi() const { return &abi_; }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  postbus_sink abi_;
};

struct Rendered {
  int32_t result = 0;
  std::string subject;
  std::string text;
  std::string html;
  std::string error;
};

inline Rendered Render(const CtemplateRenderer& renderer, std::string_view name, std::string_view data) {
  StringSink subject;
  StringSink text;
  StringSink html;
  StringSink error;
  const int32_t result = renderer.Render(name, data,
                                         {.subject = sdk::Sink(subject.abi()),
                                          .text = sdk::Sink(text.abi()),
                                          .html = sdk::Sink(html.abi()),
                                          .error = sdk::Sink(error.abi())});
  return {result, subject.text(), text.text(), html.text(), error.text()};
}

}  // namespace postbus::templates
