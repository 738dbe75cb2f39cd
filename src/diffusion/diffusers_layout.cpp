#include "diffusion/diffusers_layout.h"

#include <fmt/format.h>

#include <array>

namespace eg4d {
namespace {

const std::string kUNet = "model.diffusion_model.",
                  kImage = "conditioner.embedders.0.open_clip.model.visual.";
const std::string kCondition = "conditioner.embedders.3.encoder.", kFirstStage = "first_stage_model.";
const std::string kSecondText = "conditioner.embedders.1.model.";
const std::array<const char*, 3> kProjections = {"q_proj", "k_proj", "v_proj"};

// How many of <begin>0, <begin>1, … there are.
int count_parts(const DiffusersNames::HasPrefix& has_prefix, const std::string& begin) {
  int count = 0;
  while (has_prefix(fmt::format("{}{}.", begin, count))) ++count;
  return count;
}

// A dictionary's translation of the longest beginning that it knows.
std::optional<std::string> translate(const std::map<std::string, std::string>& names,
                                     const std::string& name) {
  if (const auto found = names.find(name); found != names.end()) return found->second;
  for (size_t dot = name.rfind('.'); dot != std::string::npos && dot > 0; dot = name.rfind('.', dot - 1))
    if (const auto found = names.find(name.substr(0, dot + 1)); found != names.end())
      return found->second + name.substr(dot + 1);
  return {};
}

}  // namespace

DiffusersNames::Structure DiffusersNames::structure_of(const WeightMap& weights) {
  const auto has = [&](const std::string& prefix) { return weights.contains_prefix(prefix); };
  Structure s;
  const int inputs = count_parts(has, kUNet + "input_blocks.");
  for (int i = 1; i < inputs; ++i) {
    if (!has(fmt::format("{}input_blocks.{}.0.op.", kUNet, i))) continue;
    if (s.unet_blocks == 0) s.unet_blocks = i - 1;
    ++s.unet_levels;
  }
  ++s.unet_levels;
  if (s.unet_blocks == 0) s.unet_blocks = inputs - 1;
  for (int level = 0; level < s.unet_levels; ++level)
    s.up_attention.push_back(
        has(fmt::format("{}output_blocks.{}.1.norm.", kUNet, level * (s.unet_blocks + 1))));
  s.encoder_levels = count_parts(has, kCondition + "encoder.down.");
  s.encoder_blocks = count_parts(has, kCondition + "encoder.down.0.block.");
  s.decoder_levels = count_parts(has, kFirstStage + "decoder.up.");
  s.decoder_blocks = count_parts(has, kFirstStage + "decoder.up.0.block.");
  s.temporal_decoder = has(kFirstStage + "decoder.mid.block_1.time_stack.");
  s.clip_layers = count_parts(has, kImage + "transformer.resblocks.");
  return s;
}

DiffusersNames::Structure DiffusersNames::structure_of_folder(DiffusersFamily family, const HasPrefix& has) {
  Structure s;
  s.family = family;
  s.unet_levels = count_parts(has, "unet/down_blocks.");
  s.unet_blocks = count_parts(has, "unet/down_blocks.0.resnets.");
  for (int level = 0; level < s.unet_levels; ++level)
    s.up_attention.push_back(has(fmt::format("unet/up_blocks.{}.attentions.", level)));
  s.encoder_levels = count_parts(has, "vae/encoder.down_blocks.");
  s.encoder_blocks = count_parts(has, "vae/encoder.down_blocks.0.resnets.");
  s.decoder_levels = count_parts(has, "vae/decoder.up_blocks.");
  s.decoder_blocks = count_parts(has, "vae/decoder.up_blocks.0.resnets.");
  s.temporal_decoder = has("vae/decoder.mid_block.resnets.0.temporal_res_block.");
  s.clip_layers =
      count_parts(has, family == DiffusersFamily::video ? "image_encoder/vision_model.encoder.layers."
                                                        : "text_encoder_2/text_model.encoder.layers.");
  return s;
}

DiffusersNames::DiffusersNames(const Structure& structure) {
  add_unet(structure);
  add_autoencoder(structure);
  if (structure.family == DiffusersFamily::video) {
    add_image_encoder(structure.clip_layers);
  } else {
    add_text_encoders(structure.clip_layers);
  }
}

void DiffusersNames::add(const std::string& single, const std::string& folder) {
  folder_of_[single] = folder;
  single_of_[folder] = single;
}

void DiffusersNames::add_residual(const std::string& single, const std::string& folder, bool video) {
  const auto add_branch = [&](const std::string& branch, const std::string& folder_branch) {
    add(single + branch + "in_layers.0.", folder + folder_branch + "norm1.");
    add(single + branch + "in_layers.2.", folder + folder_branch + "conv1.");
    add(single + branch + "emb_layers.1.", folder + folder_branch + "time_emb_proj.");
    add(single + branch + "out_layers.0.", folder + folder_branch + "norm2.");
    add(single + branch + "out_layers.3.", folder + folder_branch + "conv2.");
  };
  const std::string spatial = video ? "spatial_res_block." : "";
  add_branch("", spatial);
  add(single + "skip_connection.", folder + spatial + "conv_shortcut.");
  if (!video) return;
  add_branch("time_stack.", "temporal_res_block.");
  add(single + "time_mixer.", folder + "time_mixer.");
}

void DiffusersNames::add_transformer(const std::string& single, const std::string& folder) {
  for (const std::string same : {"norm.", "proj_in.", "proj_out.", "transformer_blocks.", "time_mixer."})
    add(single + same, folder + same);
  add(single + "time_stack.", folder + "temporal_transformer_blocks.");
  add(single + "time_pos_embed.0.", folder + "time_pos_embed.linear_1.");
  add(single + "time_pos_embed.2.", folder + "time_pos_embed.linear_2.");
}

void DiffusersNames::add_unet(const Structure& s) {
  const std::string folder = "unet/";
  const bool video = s.family == DiffusersFamily::video;
  add(kUNet + "time_embed.0.", folder + "time_embedding.linear_1.");
  add(kUNet + "time_embed.2.", folder + "time_embedding.linear_2.");
  add(kUNet + "label_emb.0.0.", folder + "add_embedding.linear_1.");
  add(kUNet + "label_emb.0.2.", folder + "add_embedding.linear_2.");
  add(kUNet + "input_blocks.0.0.", folder + "conv_in.");
  add(kUNet + "out.0.", folder + "conv_norm_out.");
  add(kUNet + "out.2.", folder + "conv_out.");
  const int stride = s.unet_blocks + 1;
  for (int level = 0; level < s.unet_levels; ++level) {
    const std::string down = fmt::format("{}down_blocks.{}.", folder, level);
    const std::string up = fmt::format("{}up_blocks.{}.", folder, level);
    for (int block = 0; block < stride; ++block) {
      const std::string input = fmt::format("{}input_blocks.{}.", kUNet, 1 + level * stride + block);
      const std::string output = fmt::format("{}output_blocks.{}.", kUNet, level * stride + block);
      if (block < s.unet_blocks) {
        add_residual(input + "0.", fmt::format("{}resnets.{}.", down, block), video);
        add_transformer(input + "1.", fmt::format("{}attentions.{}.", down, block));
      } else {
        add(input + "0.op.", down + "downsamplers.0.conv.");
        add(fmt::format("{}{}.conv.", output, s.up_attention.at(static_cast<size_t>(level)) ? 2 : 1),
            up + "upsamplers.0.conv.");
      }
      add_residual(output + "0.", fmt::format("{}resnets.{}.", up, block), video);
      add_transformer(output + "1.", fmt::format("{}attentions.{}.", up, block));
    }
  }
  add_residual(kUNet + "middle_block.0.", folder + "mid_block.resnets.0.", video);
  add_transformer(kUNet + "middle_block.1.", folder + "mid_block.attentions.0.");
  add_residual(kUNet + "middle_block.2.", folder + "mid_block.resnets.1.", video);
}

void DiffusersNames::add_autoencoder_block(const std::string& single, const std::string& folder,
                                           bool temporal) {
  const std::string spatial = temporal ? folder + "spatial_res_block." : folder;
  for (const std::string same : {"norm1.", "conv1.", "norm2.", "conv2."}) add(single + same, spatial + same);
  add(single + "nin_shortcut.", spatial + "conv_shortcut.");
  if (!temporal) return;
  add(single + "time_stack.in_layers.0.", folder + "temporal_res_block.norm1.");
  add(single + "time_stack.in_layers.2.", folder + "temporal_res_block.conv1.");
  add(single + "time_stack.out_layers.0.", folder + "temporal_res_block.norm2.");
  add(single + "time_stack.out_layers.3.", folder + "temporal_res_block.conv2.");
  add(single + "mix_factor", folder + "time_mixer.mix_factor");
}

void DiffusersNames::add_autoencoder_middle(const std::string& single, const std::string& folder,
                                            bool temporal) {
  add_autoencoder_block(single + "mid.block_1.", folder + "mid_block.resnets.0.", temporal);
  add_autoencoder_block(single + "mid.block_2.", folder + "mid_block.resnets.1.", temporal);
  const std::string attention = single + "mid.attn_1.", folder_attention = folder + "mid_block.attentions.0.";
  add(attention + "norm.", folder_attention + "group_norm.");
  add(attention + "q.", folder_attention + "to_q.");
  add(attention + "k.", folder_attention + "to_k.");
  add(attention + "v.", folder_attention + "to_v.");
  add(attention + "proj_out.", folder_attention + "to_out.0.");
}

void DiffusersNames::add_autoencoder(const Structure& s) {
  // SVD's only encoder in the folder layout is that of the conditioning picture.
  const bool video = s.family == DiffusersFamily::video;
  const std::string encoding = video ? kCondition : kFirstStage;
  const std::string encoder = encoding + "encoder.", decoder = kFirstStage + "decoder.";
  for (const std::string part : {"encoder.", "decoder."}) {
    const std::string single = part == "encoder." ? encoder : decoder, folder = "vae/" + part;
    add(single + "conv_in.", folder + "conv_in.");
    add(single + "norm_out.", folder + "conv_norm_out.");
    add(single + "conv_out.", folder + "conv_out.");
    add_autoencoder_middle(single, folder, part == "decoder." && s.temporal_decoder);
  }
  add(encoding + "quant_conv.", "vae/quant_conv.");
  if (!video) add(kFirstStage + "post_quant_conv.", "vae/post_quant_conv.");
  add(decoder + "conv_out.time_mix_conv.", "vae/decoder.time_conv_out.");
  for (int level = 0; level < s.encoder_levels; ++level) {
    const std::string single = fmt::format("{}down.{}.", encoder, level);
    const std::string folder = fmt::format("vae/encoder.down_blocks.{}.", level);
    for (int block = 0; block < s.encoder_blocks; ++block)
      add_autoencoder_block(fmt::format("{}block.{}.", single, block),
                            fmt::format("{}resnets.{}.", folder, block), false);
    add(single + "downsample.conv.", folder + "downsamplers.0.conv.");
  }
  for (int level = 0; level < s.decoder_levels; ++level) {
    const std::string single = fmt::format("{}up.{}.", decoder, s.decoder_levels - 1 - level);
    const std::string folder = fmt::format("vae/decoder.up_blocks.{}.", level);
    for (int block = 0; block < s.decoder_blocks; ++block)
      add_autoencoder_block(fmt::format("{}block.{}.", single, block),
                            fmt::format("{}resnets.{}.", folder, block), s.temporal_decoder);
    add(single + "upsample.conv.", folder + "upsamplers.0.conv.");
  }
}

void DiffusersNames::add_image_encoder(int layers) {
  const std::string folder = "image_encoder/vision_model.";
  add(kImage + "class_embedding", folder + "embeddings.class_embedding");
  add(kImage + "conv1.weight", folder + "embeddings.patch_embedding.weight");
  add(kImage + "positional_embedding", folder + "embeddings.position_embedding.weight");
  add(kImage + "ln_pre.", folder + "pre_layrnorm.");  // sic
  add(kImage + "ln_post.", folder + "post_layernorm.");
  add(kImage + "proj", "image_encoder/visual_projection.weight");
  add_clip_layers(kImage, folder, layers);
}

void DiffusersNames::add_text_encoders(int layers_of_second) {
  add("conditioner.embedders.0.transformer.text_model.", "text_encoder/text_model.");
  const std::string folder = "text_encoder_2/text_model.";
  add(kSecondText + "token_embedding.", folder + "embeddings.token_embedding.");
  add(kSecondText + "positional_embedding", folder + "embeddings.position_embedding.weight");
  add(kSecondText + "ln_final.", folder + "final_layer_norm.");
  add(kSecondText + "text_projection", "text_encoder_2/text_projection.weight");
  add_clip_layers(kSecondText, folder, layers_of_second);
}

void DiffusersNames::add_clip_layers(const std::string& single, const std::string& folder, int layers) {
  for (int i = 0; i < layers; ++i) {
    const std::string block = fmt::format("{}transformer.resblocks.{}.", single, i);
    const std::string layer = fmt::format("{}encoder.layers.{}.", folder, i);
    add(block + "ln_1.", layer + "layer_norm1.");
    add(block + "ln_2.", layer + "layer_norm2.");
    add(block + "attn.out_proj.", layer + "self_attn.out_proj.");
    add(block + "mlp.c_fc.", layer + "mlp.fc1.");
    add(block + "mlp.c_proj.", layer + "mlp.fc2.");
    // The three rows of a stacked tensor; the folder's names carry which one.
    for (const std::string kind : {"weight", "bias"})
      add(block + "attn.in_proj_" + kind, layer + "self_attn.*." + kind);
  }
}

std::vector<std::string> DiffusersNames::to_folder(const std::string& single_file_name) const {
  const std::optional<std::string> name = translate(folder_of_, single_file_name);
  if (!name) return {};
  const size_t star = name->find('*');
  if (star == std::string::npos) return {*name};
  std::vector<std::string> names;
  for (const char* projection : kProjections)
    names.push_back(std::string(*name).replace(star, 1, projection));
  return names;
}

std::optional<DiffusersNames::Place> DiffusersNames::to_single_file(const std::string& folder_name) const {
  for (size_t part = 0; part < kProjections.size(); ++part) {
    const std::string projection = std::string("self_attn.") + kProjections[part];
    const size_t at = folder_name.find(projection);
    if (at == std::string::npos) continue;
    const auto found =
        single_of_.find(std::string(folder_name).replace(at, projection.size(), "self_attn.*"));
    if (found != single_of_.end()) return Place{found->second, part, kProjections.size(), false};
  }
  const std::optional<std::string> name = translate(single_of_, folder_name);
  if (!name) return {};
  return Place{*name, 0, 1, folder_name.ends_with("_projection.weight")};
}

}  // namespace eg4d
