// SPDX-License-Identifier: MIT
#include "store/victim_order.h"

#include <utility>

namespace spillway {

VictimOrder::VictimOrder(std::vector<uint32_t> group_of, size_t n_group)
    : group_of_(std::move(group_of)), seats_(group_of_.size()), heaps_(n_group) {}

void VictimOrder::put(ExtentId id, double spare) {
  Seat& seat = seats_[index_of(id)];
  Heap& heap = heaps_[group_of_[index_of(id)]];
  seat.spare = spare;
  if (seat.index == kOut) {
    heap.push_back(id);
    seat.index = static_cast<uint32_t>(heap.size() - 1);
  }
  move_up(heap, seat.index);
  move_down(heap, seat.index);
}

void VictimOrder::remove(ExtentId id) {
  const uint32_t index = std::exchange(seats_[index_of(id)].index, kOut);
  if (index == kOut) return;
  Heap& heap = heaps_[group_of_[index_of(id)]];
  const ExtentId last = heap.back();
  heap.pop_back();
  if (last == id) return;
  place(heap, index, last);
  move_up(heap, index);
  move_down(heap, seats_[index_of(last)].index);
}

void VictimOrder::put_all(uint32_t group, const std::function<double(ExtentId)>& spare_of) {
  Heap& heap = heaps_[group];
  for (const ExtentId id : heap) seats_[index_of(id)].spare = spare_of(id);
  for (auto index = static_cast<uint32_t>(heap.size() / 2); index-- > 0;) move_down(heap, index);
}

std::optional<VictimOrder::Candidate> VictimOrder::first(uint32_t group) const {
  const Heap& heap = heaps_[group];
  if (heap.empty()) return std::nullopt;
  return Candidate{heap.front(), seats_[index_of(heap.front())].spare};
}

bool VictimOrder::before(ExtentId a, ExtentId b) const {
  const double first = seats_[index_of(a)].spare, second = seats_[index_of(b)].spare;
  return first == second ? index_of(a) < index_of(b) : first > second;
}

void VictimOrder::place(Heap& heap, uint32_t index, ExtentId id) {
  heap[index] = id;
  seats_[index_of(id)].index = index;
}

void VictimOrder::move_up(Heap& heap, uint32_t index) {
  const ExtentId id = heap[index];
  while (index > 0 && before(id, heap[(index - 1) / 2])) {
    place(heap, index, heap[(index - 1) / 2]);
    index = (index - 1) / 2;
  }
  place(heap, index, id);
}

void VictimOrder::move_down(Heap& heap, uint32_t index) {
  const ExtentId id = heap[index];
  for (uint32_t child = 2 * index + 1; child < heap.size(); child = 2 * index + 1) {
    if (child + 1 < heap.size() && before(heap[child + 1], heap[child])) ++child;
    if (!before(heap[child], id)) break;
    place(heap, index, heap[child]);
    index = child;
  }
  place(heap, index, id);
}

}  // namespace spillway
